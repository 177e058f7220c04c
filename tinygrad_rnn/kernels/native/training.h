// What a training step does around the recurrent kernels, as plain data: optimisers' updates, the norm of gradients, softmax cross-entropy,
// rows of a table. Every function shares its work out in pieces whose results do not depend on who computes them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tgr {

enum class Rule : int { kSgd, kRmsprop, kAdam };
constexpr int kSlots = 3, kNumbers = 7;

// One parameter, or a piece of one, to be updated: out = x - a step, the slots (moments) in place. A slot that is not in use is null.
//   numbers of SGD      lr, weight decay, momentum, 1 for Nesterov's; slot: velocity
//   numbers of RMSprop  lr, weight decay, alpha, eps beside the root, momentum, eps under the root; slots: square, mean, velocity
//   numbers of Adam     lr / (1 - b1^t), weight decay, b1, b2, eps, sqrt(1 - b2^t), what x is multiplied by before; slots: m, v
template <class T> struct Update {
  ptrdiff_t n = 0;
  const T *x = nullptr, *g = nullptr;
  T* out = nullptr;
  T* slots[kSlots] = {};
  const double* numbers = nullptr;
};

// n values, and what becomes of them: their squares' sum, or, multiplied by a factor, `out`.
template <class T> struct Values {
  ptrdiff_t n = 0;
  const T* in = nullptr;
  T* out = nullptr;
};

// -log softmax(logits)[target] for each row, and its gradient. Rows whose mask is 0 are left out: their loss and gradient are 0.
template <class T> struct CrossEntropy {
  ptrdiff_t rows = 0, classes = 0;
  const T* logits = nullptr;
  const int64_t* targets = nullptr;
  const uint8_t* mask = nullptr;                                // null: every row counts
  T *losses = nullptr, *largest = nullptr, *total = nullptr;    // of each row: the loss, max(logits), sum(exp(logits - max))
  const T* g = nullptr;                                         // the cotangent of each row's loss, or of all if g_step is 0
  ptrdiff_t g_step = 0;
  T weight = 1;
  T* slope = nullptr;                                           // (rows, classes)
};

// Rows of a table: values[i] added to row index[i] of zeros, in the order of i.
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
