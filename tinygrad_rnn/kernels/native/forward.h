// The forward pass over a whole sequence. A thread runs a share of the rows from the first step to the last, then the next share if one is left.
// The threads do not wait for each other, except after packing weights that they share. For each chunk of steps, x W is computed for all
// rows, then the steps run.
#pragma once

#include "layout.h"

namespace tgr::TGR_ISA {

template <class T, class C> class Forward {
  struct Scratch {
    Rows<T> rows;
    const T** x;
    T *gates, *reset;
  };

 public:
  // `ready`: weights already packed (streaming); null: they are packed here.
  Forward(const Problem<T>& p, Workspace& memory, const Crew& crew, const Weights<T>* ready = nullptr)
      : p_(p), schedule_(p.schedule), weights_(choose_weights(p, memory, crew, ready)), Hp_(units<T>(p.H).width()) {
    saved_ = {p.gates, p.schedule.total, p.H};
    const ptrdiff_t row_bytes = larger<ptrdiff_t>(SavedRows<T, C>::size(p.H), 1) * ptrdiff_t(sizeof(T));
    const ptrdiff_t together = larger<ptrdiff_t>(kStepBytes / row_bytes, 4 * kTileRows);
    shares_ = count_shares(p.B, crew, together, C::kGates * p.H * p.H * ptrdiff_t(sizeof(T)));
    share_rows_ = (p.B + shares_ - 1) / shares_;
    capacity_ = larger(share_rows_, smaller(chunk_rows(), share_rows_ * schedule_.steps));
    zeros_ = memory.array<T>(Hp_);
    for (ptrdiff_t k = 0; k < Hp_; ++k) zeros_[k] = 0;
    scratch_ = memory.array<Scratch>(crew.size);
    for (int t = 0; t < crew.size; ++t) {
      Scratch& s = scratch_[t];
      s.rows = allocate_rows<T, C>(memory, capacity_);
      s.x = memory.array<const T*>(capacity_);
      if (!p.gates) s.gates = memory.array<T>(capacity_ * SavedRows<T, C>::size(p.H));
      if (C::kReset) s.reset = memory.array<T>(share_rows_ * Hp_);
    }
    if (C::kCells) cells_ = p.cells ? p.cells : memory.array<T>(p.B * Hp_);
  }

  void run(Crew& crew) {
    weights_.pack_shared(crew);
    crew.each(shares_, [&](ptrdiff_t share, int thread) { run_share({schedule_, share, shares_}, scratch_[thread], weights_.of(thread)); });
  }

 private:
  static ThreadWeights<T, C> choose_weights(const Problem<T>& p, Workspace& memory, const Crew& crew, const Weights<T>* ready) {
    if (ready) return {p, memory, *ready};
    if (worth_direct<T, C>(p)) return {p, memory, direct_weights<T, C>(p)};
    return {p, memory, crew, true, false};
  }

  void run_share(const Share& share, Scratch& scratch, const Weights<T>& weights) {
    start_cells(share);
    for (ptrdiff_t first = 0, last; first < schedule_.steps && share.at(first) > 0; first = last) {
      ptrdiff_t n = share.at(first);
      for (last = first + 1; last < schedule_.steps && n + share.at(last) <= capacity_; ++last) n += share.at(last);
      chunk(share, scratch, weights, first, last, n);
    }
    finish(share);
  }

  ptrdiff_t chunk_rows() const {
    return smaller<ptrdiff_t>(kChunkBytes / ptrdiff_t(sizeof(T)) / larger<ptrdiff_t>(SavedRows<T, C>::size(p_.H), 1), 192);
  }

  void start_cells(const Share& share) {
    if (!C::kCells) return;
    for (ptrdiff_t i = 0, n = share.count(p_.B); i < n; ++i) {
      const ptrdiff_t j = share.rank(i);
      for (ptrdiff_t u = 0; u < Hp_; u += kWidth<T>) {
        const ptrdiff_t lanes = smaller(kWidth<T>, p_.H - u);
        store(cells_ + j * Hp_ + u, p_.c0 ? load_n(p_.c0 + schedule_.row[j] * p_.H + u, lanes) : Vec<T>{});
      }
    }
  }

  // The cell state of a rank before step s.
  T* cell(ptrdiff_t j, ptrdiff_t s) const {
    if (!p_.cells || s == 0) return cells_ + j * Hp_;
    return cells_ + (p_.B + schedule_.start[s - 1] + j) * Hp_;
  }

  const T* h_before(ptrdiff_t j, ptrdiff_t s) const {
    if (s > 0) return p_.outputs.at(schedule_.row[j], p_.time(j, s - 1));
    return p_.h0 ? p_.h0 + schedule_.row[j] * p_.H : zeros_;
  }

  void chunk(const Share& share, Scratch& scratch, const Weights<T>& weights, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n) {
    const Rows<T>& rows = scratch.rows;
    const SavedRows<T, C> saved = p_.gates ? saved_ : SavedRows<T, C>{scratch.gates, capacity_, p_.H};
    for (ptrdiff_t s = first, m = 0; s < last; ++s) {
      for (ptrdiff_t i = 0, count = share.at(s); i < count; ++i, ++m) {
        const ptrdiff_t j = share.rank(i), t = p_.time(j, s), position = p_.gates ? schedule_.start[s] + j : m;
        scratch.x[m] = p_.x.at(schedule_.row[j], t);
        for (int g = 0; g < C::kGroups; ++g) rows.gates[g][m] = saved.gates(g, position);
        if (C::kCandidate) rows.candidate[m] = saved.candidate(position);
        if (C::kReset) rows.reset[m] = scratch.reset + i * Hp_;
        rows.h_before[m] = h_before(j, s);
        rows.h_after[m] = p_.outputs.at(schedule_.row[j], t);
        if (C::kCells) {
          rows.c_before[m] = cell(j, s);
          rows.c_after[m] = cell(j, s + 1);
        }
      }
    }
    input_products<T, C>(p_, weights, n, scratch.x, rows.gates);
    for (ptrdiff_t s = first, m = 0; s < last; ++s) {
      const ptrdiff_t count = share.at(s);
      C::step(weights, p_.H, from<T, C>(rows, m, count));
      m += count;
    }
  }

  void finish(const Share& share) {
    clear_padding(p_, share, p_.outputs, p_.H);
    for (ptrdiff_t i = 0, n = share.count(p_.B); i < n; ++i) {
      const ptrdiff_t j = share.rank(i), b = schedule_.row[j], length = schedule_.length[j];
      __builtin_memcpy(p_.h + b * p_.H, h_before(j, length), p_.H * sizeof(T));
      if (C::kCells) __builtin_memcpy(p_.c + b * p_.H, cell(j, length), p_.H * sizeof(T));
    }
  }

  const Problem<T>& p_;
  const Schedule& schedule_;
  ThreadWeights<T, C> weights_;
  SavedRows<T, C> saved_;
  ptrdiff_t Hp_, shares_, share_rows_, capacity_;
  T *zeros_, *cells_ = nullptr;
  Scratch* scratch_;
};

}  // namespace tgr::TGR_ISA
