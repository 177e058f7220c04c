// The arguments of one call of a kernel, as the bindings pass them to the code of one instruction set. Plain data, the same for every set.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tgr {

enum class Cell : int { kRnnTanh, kRnnRelu, kLstm, kGruBefore, kGruAfter };

// The order of work. Step s of a row is its s-th element in reading order. Rows are ranked by decreasing length, so those that have a step s
// are the ranks 0 .. start[s + 1] - start[s]. The pair (rank j, step s) has packed position start[s] + j.
struct Schedule {
  ptrdiff_t steps = 0, total = 0;     // the maximum and the sum of the lengths
  const int64_t* row = nullptr;       // (B,) the batch row of a rank
  const int64_t* length = nullptr;    // (B,) the length of a rank
  const int64_t* start = nullptr;     // (steps + 1,)
  ptrdiff_t alive(ptrdiff_t s) const { return start[s + 1] - start[s]; }
};

// A sequence array: element (b, t, k) at data[b * row + t * time + k].
template <class T> struct Sequence {
  T* data = nullptr;
  ptrdiff_t row = 0, time = 0;
  T* at(ptrdiff_t b, ptrdiff_t t) const { return data + b * row + t * time; }
};

template <class T> struct Problem {
  Cell cell{};
  bool reverse = false;
  ptrdiff_t B = 0, T_ = 0, D = 0, H = 0;
  Schedule schedule;

  // The forward run. Null: zero initial state, no recurrent bias, nothing to save.
  Sequence<const T> x;
  const T *kernel = nullptr, *recurrent = nullptr, *bias = nullptr, *recurrent_bias = nullptr;
  bool kernel_column_major = false, recurrent_column_major = false;  // stored in column-major order
  bool torch = false;  // PyTorch's layout: both are transposed, as are their gradients; the GRU's gates are in the order r z n
  const T *c0 = nullptr, *h0 = nullptr;
  Sequence<T> outputs;
  T *c = nullptr, *h = nullptr;
  T* gates = nullptr;   // rows of activated gates by packed position, in the cell's order
  T* cells = nullptr;   // LSTM: c0 by rank, then rows of c by packed position

  // The backward pass. Null: a cotangent of zero, or a gradient that is not needed. Gradients of weights must be zeros at first.
  Sequence<const T> d_outputs, d_cells;
  const T *d_c = nullptr, *d_h = nullptr;
  Sequence<T> dx;
  T *d_kernel = nullptr, *d_recurrent = nullptr, *d_bias = nullptr, *d_recurrent_bias = nullptr, *d_c0 = nullptr, *d_h0 = nullptr;

  ptrdiff_t time(ptrdiff_t rank, ptrdiff_t s) const { return reverse ? schedule.length[rank] - 1 - s : s; }
};

// C (M x N) = bias + A (M x K) B (K x N), or C += A B, for each of `batch` triples of matrices. One of the two strides of A and of B is 1 (an
// axis of one element counts as stride 1); C's rows are contiguous.
template <class T> struct Product {
  ptrdiff_t batch = 1, M = 0, N = 0, K = 0;
  const T* a = nullptr;  // element (i, k) at i * a_row + k * a_step
  ptrdiff_t a_batch = 0, a_row = 0, a_step = 1;
  const T* b = nullptr;  // element (k, j) at k * b_row + j * b_column
  ptrdiff_t b_batch = 0, b_row = 0, b_column = 1;
  T* c = nullptr;
  ptrdiff_t c_batch = 0, c_row = 0;
  const T* bias = nullptr;  // (N), or null for zeros
  bool accumulate = false;  // C += A B; then there is no bias
};

// The memory of one call. take() may throw std::bad_alloc, so it must be called before threads start.
class Workspace {
 public:
  Workspace() = default;
  ~Workspace();
  Workspace(const Workspace&) = delete;
  void* take(size_t bytes);  // 64-byte aligned, not cleared
  template <class T> T* array(ptrdiff_t n) { return static_cast<T*>(take(static_cast<size_t>(n) * sizeof(T))); }
  void reset() { used_ = 0, block_ = 0; }  // frees all pieces for reuse
  size_t size() const;                     // bytes allocated

 private:
  static constexpr int kBlocks = 64;
  struct Block { void* data; size_t size; } blocks_[kBlocks] = {};
  int block_ = 0;
  size_t used_ = 0;
};

struct Pool;

// The threads of one call, including the caller's. The constructor reserves the pool for the lifetime of this object and wakes threads that
// sleep. If another call has reserved the pool, only the caller works; the results are the same.
class Crew {
 public:
  explicit Crew(int wanted);
  ~Crew();
  Crew(const Crew&) = delete;

  // Calls f(piece, thread) once for each piece 0 .. pieces - 1, in whichever thread (0 .. size - 1; the caller is 0) takes it first. Returns
  // when all are done. No piece is assigned in advance: if a thread starts late, or never, the others do the pieces it has not begun.
  template <class F> void each(ptrdiff_t pieces, const F& f) {
    run(pieces, [](const void* context, ptrdiff_t piece, int thread) { (*static_cast<const F*>(context))(piece, thread); }, &f);
  }
  int size = 1;
  bool contended = false;  // in recent calls threads were delayed: smaller pieces shorten the wait for them

 private:
  void run(ptrdiff_t pieces, void (*body)(const void*, ptrdiff_t, int), const void* context);
  Pool* pool_ = nullptr;
};

// The numbers of values that a run saves for the backward pass.
struct SavedSizes { ptrdiff_t gates, cells; };

struct Program;  // a loop program: program.h
template <class T> struct LoopCall;
template <class T> struct Training;  // training.h

// The functions of one instruction set.
template <class T> struct Kernels {
  SavedSizes (*saved_sizes)(Cell, ptrdiff_t B, ptrdiff_t H, ptrdiff_t total, bool recompute);
  void (*forward)(const Problem<T>&, Workspace&, int threads);
  void (*backward)(const Problem<T>&, Workspace&, int threads);
  const void* (*prepare)(const Problem<T>&, Workspace&);  // packs the weights for `step`
  void (*step)(const Problem<T>&, Workspace&, const void* weights);
  void (*trace)(const Problem<T>&, int gate, Sequence<T> out);  // one gate (or c, the last) of a saved run
  void (*activation)(int which, const T*, T*, ptrdiff_t n);     // sigmoid, tanh: for tests
  void (*loop)(const Program&, const LoopCall<T>&, Workspace&, int threads, const void* packed);  // packed: null, or from prepare_loop
  const void* (*prepare_loop)(const Program&, const T* const* weights, Workspace&);
  const Training<T>* training;
  void (*matmul)(const Product<T>&, Workspace&, int threads);
};
struct Isa {
  const char* name;
  const Kernels<float>* f32;
  const Kernels<double>* f64;
};

}  // namespace tgr
