// The data layout of one call: the division of rows among threads, the packed weights, the saved rows.
#pragma once

#include "cell.h"

namespace tgr::TGR_ISA {

// Sizes chosen so that data used repeatedly stays in the L2 cache (of about 1 MB, which also holds a panel of 128 KB).
constexpr ptrdiff_t kStepBytes = 256 << 10;   // gates of the rows that compute a step together
constexpr ptrdiff_t kChunkBytes = 512 << 10;  // x W of one chunk of steps
constexpr ptrdiff_t kLeftBytes = 128 << 10;   // of a product's left operand, which every panel reads
constexpr ptrdiff_t kPackParts = 3;           // pieces of packing for each thread
constexpr ptrdiff_t kCopiesBytes = 8 << 20;  // packed weights of all threads together, if each has a copy
constexpr ptrdiff_t kCachedBytes = 640 << 10;   // weights up to this size stay in the L2 cache from step to step
constexpr ptrdiff_t kUncachedRows = 20;            // at least in a share, if the weights do not fit it
constexpr ptrdiff_t kBackRows = 512;          // rows of dz collected before dW and dU are computed

// The number of rows of a left operand with K columns to multiply at a time.
template <class T> ptrdiff_t rows_at_a_time(ptrdiff_t K) {
  const ptrdiff_t bytes = larger<ptrdiff_t>(smaller(K, kBlockK), 1) * ptrdiff_t(sizeof(T));
  return larger<ptrdiff_t>(smaller<ptrdiff_t>(kLeftBytes / bytes, 192) / kTileRows, 4) * kTileRows;
}

// The number of shares into which the B rows of a call are divided: at least one per thread, each of at most `most` rows. With more than one
// per thread, the others wait less for a thread that starts late or shares its core. But shares are not made so small that tiles lose rows,
// or that weights larger than the L2 cache are read much more often.
inline ptrdiff_t count_shares(ptrdiff_t B, const Crew& crew, ptrdiff_t most, ptrdiff_t weights_bytes) {
  const int threads = crew.size;
  const auto rows = [&](ptrdiff_t per_thread) { return (B + threads * per_thread - 1) / (threads * per_thread); };
  const auto tiles = [](ptrdiff_t n) { return (n + kTileRows - 1) / kTileRows; };
  const ptrdiff_t mine = larger<ptrdiff_t>(rows(1), 1), least = weights_bytes > kCachedBytes ? kUncachedRows : crew.contended ? kTileRows : 2 * kTileRows;
  ptrdiff_t best = 1;
  for (ptrdiff_t k = 2; threads > 1 && k <= 4; ++k) {
    if (rows(k) + 1 >= least && 10 * rows(k) * tiles(mine) >= 9 * mine * tiles(rows(k))) best = k;
  }
  return threads * larger(best, (mine + most - 1) / most);
}

// A share of the rows: every size-th rank, so that each share has long and short rows.
struct Share {
  const Schedule& schedule;
  ptrdiff_t index, size;
  ptrdiff_t count(ptrdiff_t alive) const { return alive > index ? (alive - index + size - 1) / size : 0; }
  ptrdiff_t at(ptrdiff_t s) const { return count(schedule.alive(s)); }
  ptrdiff_t rank(ptrdiff_t i) const { return index + i * size; }
};

// What a cell saves: for each group its gates, in the order of the packed positions; then the candidates.
template <class T, class C> struct SavedRows {
  T* data;
  ptrdiff_t total, H;
  static ptrdiff_t size(ptrdiff_t H) {
    ptrdiff_t n = C::kCandidate ? units<T>(H).width() : 0;
    for (int g = 0; g < C::kGroups; ++g) n += C::columns(g, H).width();
    return n;
  }
  T* gates(int group, ptrdiff_t position) const {
    const ptrdiff_t before = group == 0 ? 0 : total * C::columns(0, H).width();
    return data + before + position * C::columns(group, H).width();
  }
  T* candidate(ptrdiff_t position) const { return gates(C::kGroups - 1, total) + position * units<T>(H).width(); }
};

template <class T, class C> Weights<T> allocate_weights(const Problem<T>& p, Workspace& memory, bool forward, bool backward) {
  Weights<T> w{};
  const ptrdiff_t left_over = p.H % kWidth<T>;
  w.narrow = C::kSparesPadding && !backward && !p.gates && left_over > 0 && left_over * C::kGates <= (C::kGates - 1) * kWidth<T>;
  w.swapped = p.torch && C::kGates == 3;
  for (int g = 0; g < C::kGroups; ++g) {
    const ptrdiff_t width = C::columns(g, p.H).width();
    if (forward) {
      w.kernel[g] = {memory.array<T>(p.D * width), p.D, 0};
      w.recurrent[g] = {memory.array<T>(p.H * width), p.H, 0};
      w.bias[g] = memory.array<T>(width);
    }
    if (backward) {
      w.kernel_t[g] = {memory.array<T>(units<T>(p.D).width() * width), width, 0};
      w.recurrent_t[g] = {memory.array<T>(units<T>(p.H).width() * width), width, 0};
    }
  }
  if (C::kCandidate && forward) w.recurrent_bias = memory.array<T>(units<T>(p.H).width());
  return w;
}

// Whether inference of one row uses the weights unpacked: their rows must be whole vectors and short.
template <class T, class C> bool worth_direct(const Problem<T>& p) {
  const ptrdiff_t columns = C::kGates * p.H;
  if (p.kernel_column_major || p.recurrent_column_major) return false;
  return C::kSparesPadding && p.B == 1 && !p.gates && !p.recurrent_bias && columns % kWidth<T> == 0 && columns * ptrdiff_t(sizeof(T)) <= 4096;
}
template <class T, class C> Weights<T> direct_weights(const Problem<T>& p) {
  Weights<T> w{};
  const ptrdiff_t columns = C::kGates * p.H;
  w.kernel[0] = {const_cast<T*>(p.kernel), p.D, columns};
  w.recurrent[0] = {const_cast<T*>(p.recurrent), p.H, columns};
  w.bias[0] = p.bias;
  w.direct = true;
  return w;
}

// Packs every size-th panel, starting with panel `index`.
template <class T, class C> void pack_weights(const Problem<T>& p, const Weights<T>& w, ptrdiff_t index, ptrdiff_t size) {
  const ptrdiff_t stride = C::kGates * p.H;
  for (int g = 0; g < C::kGroups; ++g) {
    const Columns<T> columns = columns_of<T, C>(w, g, p.H);
    if (w.kernel[g].data) {
      for (ptrdiff_t q = index; q < columns.panels(); q += size) {
        if (p.kernel_column_major) pack_panel_column_major(w.kernel[g].data, p.kernel, p.D, p.D, columns, q);
        else pack_panel(w.kernel[g].data, p.kernel, p.D, stride, columns, q);
        if (p.recurrent_column_major) pack_panel_column_major(w.recurrent[g].data, p.recurrent, p.H, p.H, columns, q);
        else pack_panel(w.recurrent[g].data, p.recurrent, p.H, stride, columns, q);
      }
      T* bias = const_cast<T*>(w.bias[g]);
      if (index == 0) pack_row(bias, p.bias, columns);
      if (index == 0 && p.recurrent_bias && g == 0) {  // outside the candidate of a GRU the two biases can be added
        for (ptrdiff_t v = 0; v < columns.vectors(); ++v) {
          T* at = bias + v * kWidth<T>;
          store(at, load(at) + gather(p.recurrent_bias, columns, v));
        }
      }
      if (C::kCandidate && index == 0 && g == 1) {
        for (ptrdiff_t k = 0; k < columns.width(); ++k) w.recurrent_bias[k] = 0;
        if (p.recurrent_bias) pack_row(w.recurrent_bias, p.recurrent_bias, columns);
      }
    }
    if (w.kernel_t[g].data) {
      if (p.dx.data) {
        for (ptrdiff_t q = index; q < units<T>(p.D).panels(); q += size) {
          if (p.kernel_column_major) pack_panel_transposed_column_major(w.kernel_t[g].data, p.kernel, p.D, p.D, columns, q);
          else pack_panel_transposed(w.kernel_t[g].data, p.kernel, p.D, stride, columns, q);
        }
      }
      for (ptrdiff_t q = index; q < units<T>(p.H).panels(); q += size) {
        if (p.recurrent_column_major) pack_panel_transposed_column_major(w.recurrent_t[g].data, p.recurrent, p.H, p.H, columns, q);
        else pack_panel_transposed(w.recurrent_t[g].data, p.recurrent, p.H, stride, columns, q);
      }
    }
  }
}

// The packed weights of a call. Each thread packs a copy for itself, unless the copies are too large: to read what another core has written, and
// to write where it has read, takes longer than to pack.
template <class T, class C> class ThreadWeights {
 public:
  ThreadWeights(const Problem<T>& p, Workspace& memory, const Crew& crew, bool forward, bool backward) : p_(p) {
    const ptrdiff_t bytes = (int(forward) + int(backward)) * (p.D + p.H) * C::kGates * p.H * ptrdiff_t(sizeof(T));
    copies_ = bytes * crew.size <= kCopiesBytes ? crew.size : 1;
    copy_ = memory.array<Copy>(copies_);
    for (ptrdiff_t k = 0; k < copies_; ++k) copy_[k] = {allocate_weights<T, C>(p, memory, forward, backward), false};
  }
  ThreadWeights(const Problem<T>& p, Workspace& memory, const Weights<T>& packed) : p_(p), copies_(1), copy_(memory.array<Copy>(1)) {
    copy_[0] = {packed, true};
  }
  void pack_shared(Crew& crew) {
    const ptrdiff_t parts = crew.size * kPackParts;
    if (copies_ == crew.size || copy_[0].packed) return;
    crew.each(parts, [&](ptrdiff_t part, int) { pack_weights<T, C>(p_, copy_[0].weights, part, parts); });
    copy_[0].packed = true;
  }
  const Weights<T>& order() const { return copy_[0].weights; }  // for columns_of, packed or not
  const Weights<T>& of(int thread) {
    Copy& copy = copy_[copies_ == 1 ? 0 : thread];
    if (!copy.packed) pack_weights<T, C>(p_, copy.weights, 0, 1);
    copy.packed = true;
    return copy.weights;
  }

 private:
  struct Copy {
    Weights<T> weights;
    bool packed;
  };
  const Problem<T>& p_;
  ptrdiff_t copies_;
  Copy* copy_;
};

// gates = x W + b for n rows.
template <class T, class C>
void input_products(const Problem<T>& p, const Weights<T>& w, ptrdiff_t n, const T* const* x, T* const* const* gates) {
  const ptrdiff_t some = rows_at_a_time<T>(p.D);
  for (ptrdiff_t r = 0; r < n; r += some) {
    const ptrdiff_t rows = smaller(some, n - r);
    for (int g = 0; g < C::kGroups; ++g) {
      const Columns<T> columns = columns_of<T, C>(w, g, p.H);
      for (ptrdiff_t q = 0; q < columns.panels(); ++q) {
        const ptrdiff_t at = q * kTileVectors * kWidth<T>, vectors = columns.in_panel(q);
        product(rows, gates[g] + r, at, w.bias[g] + at, plain(x + r), w.kernel[g].panel(q), w.kernel[g].step(vectors), vectors, p.D);
      }
    }
  }
}

// Sets a sequence array to zero past the lengths of a share's rows. Call is Problem or LoopCall.
template <class Call, class T> void clear_padding(const Call& p, const Share& share, const Sequence<T>& sequence, ptrdiff_t width) {
  for (ptrdiff_t i = 0, n = share.count(p.B); i < n; ++i) {
    const ptrdiff_t j = share.rank(i);
    for (ptrdiff_t t = p.schedule.length[j]; t < p.T_; ++t) __builtin_memset(sequence.at(p.schedule.row[j], t), 0, width * sizeof(T));
  }
}

// Allocates the row pointers of up to n rows.
template <class T, class C> Rows<T> allocate_rows(Workspace& memory, ptrdiff_t n) {
  Rows<T> rows{};
  for (int g = 0; g < C::kGroups; ++g) {
    rows.gates[g] = memory.array<T*>(n);
    rows.dz[g] = memory.array<T*>(n);
  }
  T*** mutable_lists[] = {&rows.candidate, &rows.reset, &rows.h_after, &rows.c_after, &rows.dh, &rows.dc, &rows.dq};
  const T*** const_lists[] = {&rows.h_before, &rows.h_after_saved, &rows.c_before, &rows.c_saved, &rows.d_output, &rows.d_cell};
  for (T*** list : mutable_lists) *list = memory.array<T*>(n);
  for (const T*** list : const_lists) *list = memory.array<const T*>(n);
  return rows;
}

// The n rows from row i on.
template <class T, class C> Rows<T> from(const Rows<T>& rows, ptrdiff_t i, ptrdiff_t n) {
  Rows<T> part = rows;
  part.n = n;
  for (int g = 0; g < C::kGroups; ++g) {
    part.gates[g] += i;
    part.dz[g] += i;
  }
  part.candidate += i, part.reset += i, part.h_after += i, part.c_after += i, part.dh += i, part.dc += i, part.dq += i;
  part.h_before += i, part.h_after_saved += i, part.c_before += i, part.c_saved += i;
  if (part.d_output) part.d_output += i;
  if (part.d_cell) part.d_cell += i;
  return part;
}

}  // namespace tgr::TGR_ISA
