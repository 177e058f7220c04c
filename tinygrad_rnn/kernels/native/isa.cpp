// The kernels for one instruction set. This file is compiled once for each, with that set's flags and TGR_ISA naming its namespace.
#include "backward.h"
#include "gru.h"
#include "lstm.h"
#include "problem.h"
#include "rnn.h"

namespace tgr::TGR_ISA {
namespace {

template <class T, template <class, class> class Direction, class C> void run(const Problem<T>& p, Workspace& memory, int threads) {
  Crew crew(threads);
  using Run = Direction<T, C>;
  Run direction(p, memory, crew.size);
  crew.run([](void* context, Team& team, int index) { static_cast<Run*>(context)->run(team, index); }, &direction);
}

template <class T, template <class, class> class Direction> void each(const Problem<T>& p, Workspace& memory, int threads) {
  switch (p.cell) {
    case Cell::kRnnTanh: return run<T, Direction, Rnn<T, false>>(p, memory, threads);
    case Cell::kRnnRelu: return run<T, Direction, Rnn<T, true>>(p, memory, threads);
    case Cell::kLstm: return run<T, Direction, Lstm<T>>(p, memory, threads);
    case Cell::kGruBefore: return run<T, Direction, Gru<T, false>>(p, memory, threads);
    case Cell::kGruAfter: return run<T, Direction, Gru<T, true>>(p, memory, threads);
  }
}

template <class T> void forward(const Problem<T>& p, Workspace& memory, int threads) { each<T, Forward>(p, memory, threads); }
template <class T> void backward(const Problem<T>& p, Workspace& memory, int threads) { each<T, Backward>(p, memory, threads); }

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

// Gate `which` of every step, in the order of the kernel's columns; the LSTM's c comes after its gates.
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

template <class T> constexpr Kernels<T> kKernels{saved_sizes<T>, forward<T>, backward<T>, trace<T>, activation<T>};

}  // namespace

#define TGR_TEXT_(name) #name
#define TGR_TEXT(name) TGR_TEXT_(name)
extern const Isa isa;
const Isa isa{TGR_TEXT(TGR_ISA), &kKernels<float>, &kKernels<double>};

}  // namespace tgr::TGR_ISA
