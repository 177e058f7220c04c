// The sums over rows of a loop program: weight gradients. For each sum, target += leftᵀ right over all rows of a chunk.
#pragma once

#include "cell.h"
#include "layout.h"
#include "program.h"

namespace tgr::TGR_ISA {

constexpr int kMostSums = 16;  // sums that share a packed operand

template <class T> class RowSums {
  static constexpr ptrdiff_t W = kWidth<T>, kPanel = kTileVectors * kWidth<T>;

  // The working memory of one thread.
  struct Adder {
    const T **left, **right;
    T *packed_left, *packed_right;
  };

 public:
  const T*** rows = nullptr;  // rows[slot][position]: a slot that a sum reads, its row at a packed position of the chunk

  RowSums() = default;
  RowSums(const Program& p, const LoopCall<T>& call, Workspace& memory, int threads, ptrdiff_t chunk) : p_(&p), call_(&call) {
    rows = memory.array<const T**>(p.slots.count);
    for (const int k : p.summed) rows[k] = memory.array<const T*>(chunk);
    ptrdiff_t tiles = 0;
    for (const SumOf& s : p.sums) tiles += s.left_size / kTileRows + 1;
    adders_ = memory.array<Adder>(threads);
    for (int t = 0; t < threads; ++t) {
      Adder& a = adders_[t];
      a.left = memory.array<const T*>(kBlockK);
      a.right = memory.array<const T*>(kBlockK);
      a.packed_left = memory.array<T>(tiles * kTileRows * kBlockK);
      a.packed_right = memory.array<T>(kBlockK * kPanel);
    }
  }

  // Adds part `index` of `size` of all sums, over the n rows of a chunk, in one thread. Consecutive sums with the same right operand are
  // computed together, so that it is packed once for all of them.
  void add(ptrdiff_t index, ptrdiff_t size, int thread, ptrdiff_t n) {
    const Adder& a = adders_[thread];
    for (int first = 0, last; first < p_->sums.count; first = last) {
      const SumOf& s = p_->sums[first];
      const auto same_right = [&](const SumOf& o) {
        return o.right == s.right && o.right_offset == s.right_offset && o.right_size == s.right_size && o.multiple == s.multiple;
      };
      for (last = first + 1; last < p_->sums.count && last - first < kMostSums && same_right(p_->sums[last]);) ++last;
      const Columns<T> columns = units<T>(s.right_size);
      Part parts[kMostSums];
      for (int k = first; k < last; ++k) parts[k - first] = part_of(p_->sums[k], columns.panels(), index, size);
      for (ptrdiff_t row = 0; row < n * s.multiple; row += kBlockK) {
        add_sums(a, first, last, parts, columns, row, smaller(kBlockK, n * s.multiple - row));
      }
    }
  }

 private:
  // A part of a sum: a range of the target's rows (in tiles) or, if it has few rows, a range of its panels of columns.
  struct Part {
    ptrdiff_t tile, tiles, panel, panels;  // tile .. tiles, panel .. panels: the ends are exclusive
    const T* packed_left;
  };
  static Part part_of(const SumOf& s, ptrdiff_t panels, ptrdiff_t index, ptrdiff_t size) {
    const ptrdiff_t tiles = s.left < 0 ? 1 : (s.left_size + kTileRows - 1) / kTileRows;
    if (tiles >= 2 * size) return {tiles * index / size, tiles * (index + 1) / size, 0, panels, nullptr};
    return {0, tiles, panels * index / size, panels * (index + 1) / size, nullptr};
  }

  void add_sums(const Adder& a, int first, int last, Part* parts, const Columns<T>& columns, ptrdiff_t row, ptrdiff_t depth) {
    const SumOf& any = p_->sums[first];
    gather_rows(a.right, rows[any.right], any.right_offset, any.right_size, any.multiple, row, depth);
    T* packed = a.packed_left;
    for (int k = first; k < last; ++k) {
      const SumOf& s = p_->sums[k];
      Part& part = parts[k - first];
      if (s.left < 0) continue;
      gather_rows(a.left, rows[s.left], s.left_offset, s.left_size, s.multiple, row, depth);
      pack_left(packed, a.left, depth, part.tile, part.tiles, s.left_size);
      part.packed_left = packed;
      packed += (part.tiles - part.tile) * depth * kTileRows;
    }
    for (ptrdiff_t q = 0; q < columns.panels(); ++q) {
      bool is_packed = false;
      for (int k = first; k < last; ++k) {
        const Part& part = parts[k - first];
        if (q < part.panel || q >= part.panels || part.tile == part.tiles) continue;
        if (!is_packed) pack_rows(a.packed_right, a.right, depth, columns, q);
        is_packed = true;
        add_to_target(p_->sums[k], part, a.packed_right, depth, columns, q);
      }
    }
  }
  static void gather_rows(const T** to, const T* const* rows, ptrdiff_t offset, ptrdiff_t size, ptrdiff_t multiple, ptrdiff_t k, ptrdiff_t depth) {
    for (ptrdiff_t row = k / multiple, sub = k % multiple, d = 0; d < depth; ++d) {
      to[d] = rows[row] + offset + sub * size;
      if (++sub == multiple) sub = 0, ++row;
    }
  }
  static void pack_rows(T* out, const T* const* rows, ptrdiff_t depth, const Columns<T>& columns, ptrdiff_t q) {
    const ptrdiff_t column = q * kPanel, width = columns.in_panel(q), lanes = columns.lanes(q * kTileVectors + width - 1);
    for (ptrdiff_t d = 0; d < depth; ++d, out += kPanel) {
      const T* row = rows[d] + column;
      for (ptrdiff_t v = 0; v < width - 1; ++v) store(out + v * W, load(row + v * W));
      store(out + (width - 1) * W, load_n(row + (width - 1) * W, lanes));
    }
  }
  void add_to_target(const SumOf& s, const Part& part, const T* right, ptrdiff_t depth, const Columns<T>& columns, ptrdiff_t q) {
    T* target = call_->targets[s.target];
    alignas(64) T c[kTileRows * kPanel];
    if (s.left < 0) {
      Vec<T> sum[kTileVectors] = {};
      for (ptrdiff_t d = 0; d < depth; ++d) {
        for (ptrdiff_t v = 0, width = columns.in_panel(q); v < width; ++v) sum[v] += load(right + d * kPanel + v * W);
      }
      for (ptrdiff_t v = 0; v < kTileVectors; ++v) store(c + v * W, sum[v]);
      return add_to_columns(target, c, columns, q);
    }
    for (ptrdiff_t tile = part.tile; tile < part.tiles; ++tile) {
      const ptrdiff_t height = smaller<ptrdiff_t>(kTileRows, s.left_size - tile * kTileRows);
      Tiles<T>::packed(height, columns.in_panel(q))(c, part.packed_left + (tile - part.tile) * depth * kTileRows, right, kPanel, depth);
      for (ptrdiff_t r = 0; r < height; ++r) add_to_columns(target + (tile * kTileRows + r) * columns.H, c + r * kPanel, columns, q);
    }
  }

  const Program* p_ = nullptr;
  const LoopCall<T>* call_ = nullptr;
  Adder* adders_ = nullptr;
};

}  // namespace tgr::TGR_ISA
