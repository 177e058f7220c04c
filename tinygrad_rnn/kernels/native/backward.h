// The backward pass over a whole sequence, in chunks of steps from the last to the first. In each chunk a thread computes dz and dx of a share
// of the rows; when all shares are done, the threads divide the rows of dW and dU among them. So every element of dW and dU is one sum in one
// order, whatever the number of threads. Only one chunk's dz is in memory at a time.
#pragma once

#include "forward.h"

namespace tgr::TGR_ISA {

constexpr ptrdiff_t kPartTiles = 12;  // at least, in one piece of a weight's gradient

template <class T, class C> class Backward {
  static constexpr ptrdiff_t W = kWidth<T>, kPanel = kTileVectors * kWidth<T>;

 public:
  Backward(const Problem<T>& p, Workspace& memory, const Crew& crew)
      : p_(p), schedule_(p.schedule), recompute_(C::kSavesGates && !p.gates), weights_(p, memory, crew, recompute_, true),
        Hp_(units<T>(p.H).width()) {
    saved_ = {p.gates, schedule_.total, p.H};
    shares_ = count_shares(p.B, crew, p.B + 1, C::kGates * p.H * p.H * ptrdiff_t(sizeof(T)));
    capacity_ = larger(p.B, smaller(kBackRows, schedule_.total));
    for (int g = 0; g < C::kGroups; ++g) dz_[g] = memory.array<T>(C::columns(g, p.H).panels() * capacity_ * kPanel);
    if (C::kCandidate) dq_ = memory.array<T>(C::columns(1, p.H).panels() * capacity_ * kPanel);
    if (C::kReset) reset_ = memory.array<T>(capacity_ * Hp_), reset_row_ = memory.array<const T*>(capacity_);
    x_row_ = memory.array<const T*>(capacity_);
    h_row_ = memory.array<const T*>(capacity_);
    zeros_ = memory.array<T>(larger(Hp_, kPanel));
    for (ptrdiff_t k = 0; k < larger(Hp_, kPanel); ++k) zeros_[k] = 0;
    dh_ = memory.array<T>(p.B * Hp_);
    if (C::kCells) dc_ = memory.array<T>(p.B * Hp_);
    d_kernel_ = allocate_gradient(p.d_kernel, p.D, memory);
    d_recurrent_ = allocate_gradient(p.d_recurrent, p.H, memory);
    const ptrdiff_t tiles = larger(p.D, p.H) / kTileRows + 1, threads = crew.size;
    parts_ = threads == 1 ? 1 : threads * larger<ptrdiff_t>(smaller<ptrdiff_t>(tiles / threads / kPartTiles, 4), 1);
    scratch_ = memory.array<Scratch>(threads);
    for (ptrdiff_t t = 0; t < threads; ++t) {
      Scratch& s = scratch_[t];
      s.rows = allocate_rows<T, C>(memory, capacity_);
      s.x = memory.array<const T*>(capacity_);
      s.dx = memory.array<T*>(capacity_);
      s.dx_tail = memory.array<T*>(capacity_);
      s.tail = memory.array<T>(capacity_ * kPanel);
      if (recompute_) s.gates = memory.array<T>(capacity_ * SavedRows<T, C>::size(p.H)), s.sink = memory.array<T>(Hp_);
      s.packed = memory.array<T>((tiles / parts_ + 2) * smaller(kBlockK, capacity_) * kTileRows);
    }
  }

  void run(Crew& crew) {
    weights_.pack_shared(crew);
    const auto each_share = [&](const auto& f) {
      crew.each(shares_, [&](ptrdiff_t share, int thread) { f(Share{schedule_, share, shares_}, thread); });
    };
    each_share([&](const Share& share, int) { start_states(share); });
    for (ptrdiff_t last = schedule_.steps, first; last > 0; last = first) {
      for (first = last - 1; first > 0 && schedule_.start[last] - schedule_.start[first - 1] <= capacity_;) --first;
      const ptrdiff_t n = schedule_.start[last] - schedule_.start[first];
      each_share([&](const Share& share, int thread) { steps(share, scratch_[thread], weights_.of(thread), first, last, n); });
      crew.each(parts_, [&](ptrdiff_t part, int thread) { weight_gradients(part, scratch_[thread], n); });
    }
    each_share([&](const Share& share, int) { finish(share); });
    if (p_.torch) crew.each(parts_, [&](ptrdiff_t part, int) { write_gradients(part); });
  }

 private:
  struct Scratch {
    Rows<T> rows;
    const T** x;
    T **dx, **dx_tail;
    T *tail, *gates, *sink, *packed;
  };

  // The memory in which the gradient of a matrix with M rows is summed: the caller's, or if that is transposed (torch) a temporary.
  T* allocate_gradient(T* wanted, ptrdiff_t M, Workspace& memory) const {
    if (!wanted || !p_.torch) return wanted;
    const ptrdiff_t size = M * C::kGates * p_.H;
    T* sum = memory.array<T>(size);
    __builtin_memset(sum, 0, size * sizeof(T));
    return sum;
  }

  void write_gradients(ptrdiff_t part) {
    const ptrdiff_t columns = C::kGates * p_.H, first = columns * part / parts_, last = columns * (part + 1) / parts_;
    if (p_.d_kernel) write_transposed(p_.d_kernel, d_kernel_, p_.D, columns, first, last);
    if (p_.d_recurrent) write_transposed(p_.d_recurrent, d_recurrent_, p_.H, columns, first, last);
  }

  void start_states(const Share& share) {
    for (ptrdiff_t i = 0, n = share.count(p_.B); i < n; ++i) {
      const ptrdiff_t j = share.rank(i), b = schedule_.row[j];
      for (ptrdiff_t u = 0; u < Hp_; u += W) {
        const ptrdiff_t lanes = smaller(W, p_.H - u);
        store(dh_ + j * Hp_ + u, p_.d_h ? load_n(p_.d_h + b * p_.H + u, lanes) : Vec<T>{});
        if (C::kCells) store(dc_ + j * Hp_ + u, p_.d_c ? load_n(p_.d_c + b * p_.H + u, lanes) : Vec<T>{});
      }
    }
  }

  void steps(const Share& share, Scratch& scratch, const Weights<T>& weights, ptrdiff_t first, ptrdiff_t last, ptrdiff_t n) {
    Rows<T> rows = scratch.rows;
    if (!p_.d_outputs.data) rows.d_output = nullptr;
    if (!p_.d_cells.data) rows.d_cell = nullptr;
    rows.panel_jump = n * kPanel;
    ptrdiff_t mine = 0;
    for (ptrdiff_t s = first; s < last; ++s) {
      for (ptrdiff_t i = 0, count = share.at(s); i < count; ++i, ++mine) set_row_pointers(rows, scratch, share.rank(i), s, mine, first);
    }
    if (recompute_) {  // all states are known, so one call computes the gates of all steps of the chunk
      input_products<T, C>(p_, weights, mine, scratch.x, rows.gates);
      C::step(weights, p_.H, from<T, C>(rows, 0, mine));
    }
    for (ptrdiff_t s = last - 1, m = mine; s >= first; --s) {
      const ptrdiff_t count = share.at(s);
      m -= count;
      C::step_back(weights, p_.H, from<T, C>(rows, m, count));
    }
    if (p_.dx.data) input_gradients(rows, scratch, weights, mine);
  }

  // Sets the pointers to the data of rank j at step s: row m of this share, in a chunk that starts with step `first`.
  void set_row_pointers(Rows<T>& rows, Scratch& scratch, ptrdiff_t j, ptrdiff_t s, ptrdiff_t m, ptrdiff_t first) {
    const ptrdiff_t position = schedule_.start[s] + j, in_chunk = position - schedule_.start[first];
    const ptrdiff_t b = schedule_.row[j], t = p_.time(j, s);
    const SavedRows<T, C> at = recompute_ ? SavedRows<T, C>{scratch.gates, capacity_, p_.H} : saved_;
    x_row_[in_chunk] = scratch.x[m] = p_.x.at(b, t);
    h_row_[in_chunk] = rows.h_before[m] = s > 0 ? p_.outputs.at(b, p_.time(j, s - 1)) : p_.h0 ? p_.h0 + b * p_.H : zeros_;
    rows.h_after_saved[m] = p_.outputs.at(b, t);
    if (p_.dx.data) scratch.dx[m] = p_.dx.at(b, t);
    for (int g = 0; g < C::kGroups; ++g) {
      if (C::kSavesGates) rows.gates[g][m] = at.gates(g, recompute_ ? m : position);
      rows.dz[g][m] = dz_[g] + in_chunk * kPanel;
    }
    if (C::kCandidate) rows.candidate[m] = at.candidate(recompute_ ? m : position), rows.dq[m] = dq_ + in_chunk * kPanel;
    if (C::kReset) reset_row_[in_chunk] = rows.reset[m] = reset_ + in_chunk * Hp_;
    if (C::kCells) {
      rows.c_before[m] = p_.cells + (s == 0 ? j : p_.B + schedule_.start[s - 1] + j) * Hp_;
      rows.c_saved[m] = p_.cells + (p_.B + position) * Hp_;
      rows.dc[m] = dc_ + j * Hp_;
    }
    if (recompute_) rows.h_after[m] = rows.c_after[m] = scratch.sink;  // the states are known: these results are discarded
    rows.dh[m] = dh_ + j * Hp_;
    if (rows.d_output) rows.d_output[m] = p_.d_outputs.at(b, t);
    if (rows.d_cell) rows.d_cell[m] = p_.d_cells.at(b, t);
  }

  // dx = dz W^T. The last panel, if it is wider than dx, is computed in a buffer and copied.
  void input_gradients(const Rows<T>& rows, Scratch& scratch, const Weights<T>& weights, ptrdiff_t n) {
    const Columns<T> across = units<T>(p_.D);
    for (ptrdiff_t m = 0; m < n; ++m) scratch.dx_tail[m] = scratch.tail + m * kPanel;
    const ptrdiff_t most = rows_at_a_time<T>(C::columns(0, p_.H).width());
    for (ptrdiff_t r = 0; r < n; r += most) {
      const ptrdiff_t some = smaller(most, n - r);
      for (ptrdiff_t q = 0; q < across.panels(); ++q) {
        const ptrdiff_t column = q * kPanel;
        const bool whole = column + across.in_panel(q) * W <= p_.D;
        T* const* to = (whole ? scratch.dx : scratch.dx_tail) + r;
        for (int g = 0; g < C::kGroups; ++g) {
          const Left<T> left{rows.dz[g] + r, 0, kPanel, rows.panel_jump};
          const Right<T>& right = weights.kernel_t[g];
          const ptrdiff_t vectors = across.in_panel(q);
          product(some, to, whole ? column : 0, g == 0 ? zeros_ : nullptr, left, right.panel(q), right.step(vectors), vectors, right.K);
        }
        if (whole) continue;
        for (ptrdiff_t m = r; m < r + some; ++m) {
          for (ptrdiff_t c = column; c < p_.D; c += W) {
            store_n(scratch.dx[m] + c, load(scratch.dx_tail[m] + c - column), smaller(W, p_.D - c));
          }
        }
      }
    }
  }

  void weight_gradients(ptrdiff_t part, Scratch& scratch, ptrdiff_t n) {
    const T* const recurrent_dz[kMaxGroups] = {dz_[0], C::kCandidate ? dq_ : dz_[1]};
    if (p_.d_kernel) left_products(part, scratch, x_row_, p_.D, n, dz_, 0, C::kGroups, d_kernel_);
    if (p_.d_recurrent) {
      left_products(part, scratch, h_row_, p_.H, n, recurrent_dz, 0, C::kReset ? 1 : C::kGroups, d_recurrent_);
      if (C::kReset) left_products(part, scratch, reset_row_, p_.H, n, recurrent_dz, 1, 2, d_recurrent_);
    }
    for (int g = 0; g < C::kGroups; ++g) {
      if (p_.d_bias) column_sums(part, n, dz_[g], columns_of<T, C>(weights_.order(), g, p_.H), p_.d_bias);
      if (p_.d_recurrent_bias) column_sums(part, n, recurrent_dz[g], columns_of<T, C>(weights_.order(), g, p_.H), p_.d_recurrent_bias);
    }
  }

  // to (M x columns) += left^T dz, for the rows of `to` that belong to this part, kTileRows at a time.
  void left_products(ptrdiff_t part, Scratch& scratch, const T* const* left, ptrdiff_t M, ptrdiff_t n, const T* const* dz, int first_group,
                     int last_group, T* to) {
    const ptrdiff_t tiles = (M + kTileRows - 1) / kTileRows;
    const ptrdiff_t first = tiles * part / parts_, last = tiles * (part + 1) / parts_;
    alignas(64) T c[kTileRows * kPanel];
    for (ptrdiff_t k = 0; k < n && first < last; k += kBlockK) {
      const ptrdiff_t depth = smaller(kBlockK, n - k);
      pack_left(scratch.packed, left + k, depth, first, last, M);
      for (int g = first_group; g < last_group; ++g) {
        const Columns<T> columns = columns_of<T, C>(weights_.order(), g, p_.H);
        for (ptrdiff_t q = 0; q < columns.panels(); ++q) {
          const T* panel = dz[g] + (q * n + k) * kPanel;
          for (ptrdiff_t tile = first; tile < last; ++tile) {
            const ptrdiff_t height = smaller<ptrdiff_t>(kTileRows, M - tile * kTileRows);
            Tiles<T>::packed(height, columns.in_panel(q))(c, scratch.packed + (tile - first) * depth * kTileRows, panel, kPanel, depth);
            for (ptrdiff_t r = 0; r < height; ++r) add_to_columns(to + (tile * kTileRows + r) * C::kGates * p_.H, c + r * kPanel, columns, q);
          }
        }
      }
    }
  }

  void column_sums(ptrdiff_t part, ptrdiff_t n, const T* dz, const Columns<T>& columns, T* to) {
    for (ptrdiff_t q = part; q < columns.panels(); q += parts_) {
      alignas(64) T sums[kPanel];
      Vec<T> sum[kTileVectors] = {};
      for (ptrdiff_t r = 0; r < n; ++r) {
        for (ptrdiff_t v = 0, width = columns.in_panel(q); v < width; ++v) sum[v] += load(dz + (q * n + r) * kPanel + v * W);
      }
      for (int v = 0; v < kTileVectors; ++v) store(sums + v * W, sum[v]);
      add_to_columns(to, sums, columns, q);
    }
  }

  void finish(const Share& share) {
    if (p_.dx.data) clear_padding(p_, share, p_.dx, p_.D);
    for (ptrdiff_t i = 0, n = share.count(p_.B); i < n; ++i) {
      const ptrdiff_t j = share.rank(i), b = schedule_.row[j];
      if (p_.d_h0) __builtin_memcpy(p_.d_h0 + b * p_.H, dh_ + j * Hp_, p_.H * sizeof(T));
      if (C::kCells && p_.d_c0) __builtin_memcpy(p_.d_c0 + b * p_.H, dc_ + j * Hp_, p_.H * sizeof(T));
    }
  }

  const Problem<T>& p_;
  const Schedule& schedule_;
  bool recompute_;
  ThreadWeights<T, C> weights_;
  SavedRows<T, C> saved_;
  ptrdiff_t Hp_, shares_, parts_, capacity_;
  T *dz_[kMaxGroups] = {}, *dq_ = nullptr, *reset_ = nullptr, *dh_, *dc_ = nullptr, *zeros_, *d_kernel_, *d_recurrent_;
  const T **x_row_, **h_row_, **reset_row_ = nullptr;
  Scratch* scratch_;
};

}  // namespace tgr::TGR_ISA
