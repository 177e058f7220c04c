// The kernels for one instruction set. This file is compiled once for each set, with the set's compiler flags; TGR_ISA is its namespace.
#include "backward.h"
#include "gru.h"
#include "loop.h"
#include "lstm.h"
#include "matmul.h"
#include "problem.h"
#include "rnn.h"
#include "training.h"

namespace tgr::TGR_ISA {

extern const Training<float> training_float32;  // training.cpp
extern const Training<double> training_float64;
template <class T> constexpr const Training<T>* kTraining = nullptr;
template <> constexpr const Training<float>* kTraining<float> = &training_float32;
template <> constexpr const Training<double>* kTraining<double> = &training_float64;

namespace {

// Runs a whole sequence, forward or backward, on up to `threads` threads.
template <template <class, class> class Direction> struct OverSequence {
  template <class T, class C> struct Run {
    static const void* run(const Problem<T>& p, Workspace& memory, int threads) {
      Crew crew(threads);
      using D = Direction<T, C>;
      D(p, memory, crew).run(crew);
      return nullptr;
    }
  };
};

// Streaming: the weights are packed once and used by every step.
template <class T, class C> struct Prepare {
  static const void* run(const Problem<T>& p, Workspace& memory) {
    Weights<T>* weights = memory.array<Weights<T>>(1);
    *weights = allocate_weights<T, C>(p, memory, true, false);
    pack_weights<T, C>(p, *weights, 0, 1);
    return weights;
  }
};
template <class T, class C> struct Step {
  static const void* run(const Problem<T>& p, Workspace& memory, const void* weights) {
    Crew alone(1);
    Forward<T, C>(p, memory, alone, static_cast<const Weights<T>*>(weights)).run(alone);
    return weights;
  }
};

template <class T, template <class, class> class Action, class... More> const void* each_of(const Problem<T>& p, Workspace& memory, More... more) {
  switch (p.cell) {
    case Cell::kRnnTanh: return Action<T, Rnn<T, false>>::run(p, memory, more...);
    case Cell::kRnnRelu: return Action<T, Rnn<T, true>>::run(p, memory, more...);
    case Cell::kLstm: return Action<T, Lstm<T>>::run(p, memory, more...);
    case Cell::kGruBefore: return Action<T, Gru<T, false>>::run(p, memory, more...);
    case Cell::kGruAfter: return Action<T, Gru<T, true>>::run(p, memory, more...);
  }
  return nullptr;
}

template <class T> const void* prepare(const Problem<T>& p, Workspace& memory) { return each_of<T, Prepare>(p, memory); }
template <class T> void step(const Problem<T>& p, Workspace& memory, const void* weights) { each_of<T, Step>(p, memory, weights); }
template <class T> void forward(const Problem<T>& p, Workspace& memory, int threads) {
  each_of<T, OverSequence<Forward>::template Run>(p, memory, threads);
}
template <class T> void backward(const Problem<T>& p, Workspace& memory, int threads) {
  each_of<T, OverSequence<Backward>::template Run>(p, memory, threads);
}

template <class T> SavedSizes saved_sizes(Cell cell, ptrdiff_t B, ptrdiff_t H, ptrdiff_t total, bool recompute) {
  const ptrdiff_t cells = cell == Cell::kLstm ? (B + total) * units<T>(H).width() : 0;
  if (recompute) return {0, cells};
  switch (cell) {
    case Cell::kLstm: return {SavedRows<T, Lstm<T>>::size(H) * total, cells};
    case Cell::kGruBefore: return {SavedRows<T, Gru<T, false>>::size(H) * total, 0};
    case Cell::kGruAfter: return {SavedRows<T, Gru<T, true>>::size(H) * total, 0};
    default: return {0, 0};
  }
}

// Writes gate `which` of every step. Gates are numbered in the order of the kernel's columns; the LSTM's c follows its gates.
template <class T, class C> void trace_cell(const Problem<T>& p, int which, const Sequence<T>& out) {
  const SavedRows<T, C> saved{p.gates, p.schedule.total, p.H};
  const bool cells = which == C::kGates;
  const int group = !cells && C::kGroups == 2 && which == 2;
  const Columns<T> columns = cells ? units<T>(p.H) : C::columns(group, p.H);
  const Share all{p.schedule, 0, 1};
  clear_padding(p, all, out, p.H);
  for (ptrdiff_t s = 0; s < p.schedule.steps; ++s) {
    for (ptrdiff_t j = 0; j < p.schedule.alive(s); ++j) {
      const ptrdiff_t position = p.schedule.start[s] + j;
      const T* row = cells ? p.cells + (p.B + position) * columns.width() : saved.gates(group, position);
      T* to = out.at(p.schedule.row[j], p.time(j, s));
      for (ptrdiff_t u = 0; u < columns.blocks(); ++u) {
        const ptrdiff_t v = u * columns.gates + (cells || group ? 0 : which);
        store_n(to + u * kWidth<T>, load(row + v * kWidth<T>), columns.lanes(v));
      }
    }
  }
}

template <class T> void trace(const Problem<T>& p, int which, Sequence<T> out) {
  if (p.cell == Cell::kLstm) trace_cell<T, Lstm<T>>(p, which, out);
  if (p.cell == Cell::kGruBefore) trace_cell<T, Gru<T, false>>(p, which, out);
  if (p.cell == Cell::kGruAfter) trace_cell<T, Gru<T, true>>(p, which, out);
}

template <class T> void activation(int which, const T* from, T* to, ptrdiff_t n) {
  for (ptrdiff_t k = 0; k < n; k += kWidth<T>) {
    const ptrdiff_t lanes = smaller(kWidth<T>, n - k);
    const Vec<T> z = load_n(from + k, lanes);
    store_n(to + k, which == 0 ? sigmoid<T>(z) : tanh<T>(z), lanes);
  }
}

template <class T> void loop(const Program& program, const LoopCall<T>& call, Workspace& memory, int threads, const void* packed) {
  Crew crew(threads);
  Loop<T>(program, call, memory, crew, static_cast<const PackedWeights<T>*>(packed)).run(crew);
}
template <class T> const void* prepare_loop(const Program& program, const T* const* weights, Workspace& memory) {
  PackedWeights<T>* packed = memory.array<PackedWeights<T>>(1);
  *packed = allocate_packed(program, weights, memory, 0, 0);
  pack(program, weights, *packed, 0, 1);
  return packed;
}

template <class T> void matmul(const Product<T>& p, Workspace& memory, int threads) {
  Crew crew(threads);
  Matmul<T>(p, memory, crew.size).run(crew);
}

template <class T>
constexpr Kernels<T> kKernels{saved_sizes<T>, forward<T>, backward<T>, prepare<T>, step<T>, trace<T>, activation<T>, loop<T>, prepare_loop<T>,
                              kTraining<T>, matmul<T>};

}  // namespace

#define TGR_TEXT_(name) #name
#define TGR_TEXT(name) TGR_TEXT_(name)
extern const Isa isa;
const Isa isa{TGR_TEXT(TGR_ISA), &kKernels<float>, &kKernels<double>};

}  // namespace tgr::TGR_ISA
