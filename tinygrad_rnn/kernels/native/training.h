// The parts of a training step outside the recurrent kernels, as plain data: optimiser updates, the norm of gradients, softmax cross-entropy,
// gradients of embedding tables. Every function splits its work into pieces whose results do not depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tgr {

enum class Rule : int { kSgd, kRmsprop, kAdam };
constexpr int kSlots = 3, kNumbers = 7;

// The update of one parameter, or of a piece of one: out = x - step; the slots (moments) are updated in place. A slot not in use is null.
//   numbers of SGD      lr, weight decay, momentum, 1 for Nesterov's momentum; slot: velocity
//   numbers of RMSprop  lr, weight decay, alpha, eps added to the root, momentum, eps added under it; slots: square, mean, velocity
//   numbers of Adam     lr / (1 - b1^t), weight decay, b1, b2, eps, sqrt(1 - b2^t), a factor of x; slots: m, v
template <class T> struct Update {
  ptrdiff_t n = 0;
  const T *x = nullptr, *g = nullptr;
  T* out = nullptr;
  T* slots[kSlots] = {};
  const double* numbers = nullptr;
};

// n values, whose squares are summed (`squares`), or which are multiplied by a factor and written to `out` (`scale`).
template <class T> struct Values {
  ptrdiff_t n = 0;
  const T* in = nullptr;
  T* out = nullptr;
};

// -log softmax(logits)[target] for each row, and its gradient. Where the mask is 0, loss and gradient are 0.
template <class T> struct CrossEntropy {
  ptrdiff_t rows = 0, classes = 0;
  const T* logits = nullptr;
  const int64_t* targets = nullptr;
  const uint8_t* mask = nullptr;                                // null: no row is masked
  T *losses = nullptr, *largest = nullptr, *total = nullptr;    // per row: the loss, max(logits), sum(exp(logits - max))
  const T* g = nullptr;                                         // cotangents of the losses, g_step apart; 0: one for all rows
  ptrdiff_t g_step = 0;
  T weight = 1;
  T* slope = nullptr;                                           // the gradient of the logits, (rows, classes)
};

// The gradient of an embedding: a table of zeros to whose row index[i] values[i] is added, in the order of i.
template <class T> struct Scatter {
  ptrdiff_t count = 0, width = 0, rows = 0;
  const int64_t* index = nullptr;
  const T* values = nullptr;
  T* table = nullptr;
};

template <class T> struct Training {
  void (*update)(Rule, const Update<T>* pieces, ptrdiff_t count, int threads);
  void (*squares)(const Values<T>* pieces, double* sums, ptrdiff_t count, int threads);
  void (*scale)(T factor, const Values<T>* pieces, ptrdiff_t count, int threads);
  void (*cross_entropy)(const CrossEntropy<T>&, int threads);
  void (*cross_entropy_back)(const CrossEntropy<T>&, int threads);
  void (*scatter)(const Scatter<T>&, int threads);
};

}  // namespace tgr
