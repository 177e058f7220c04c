// The weights of a loop program, packed once and used by all steps.
#pragma once

#include "cell.h"
#include "layout.h"
#include "program.h"

namespace tgr::TGR_ISA {

// The weights of products in the order in which the tile reads them. A call with one row uses narrow weights unpacked, in C order (Right::row):
// in the caller's memory, unless their vectors cross cache lines and there are enough steps to pay for an aligned copy. See worth_direct.
template <class T> struct PackedWeights {
  Right<T>* right;
  T** start;
  T* zeros;
};
constexpr ptrdiff_t kWorthCopying = 8;  // steps of one row that pay for the copy
template <class T> PackedWeights<T> allocate_packed(const Program& p, const T* const* weights, Workspace& memory, ptrdiff_t rows, ptrdiff_t steps) {
  PackedWeights<T> w{memory.array<Right<T>>(p.matrices.count), memory.array<T*>(p.biases.count), memory.array<T>(kTileVectors * kWidth<T>)};
  for (ptrdiff_t k = 0; k < kTileVectors * kWidth<T>; ++k) w.zeros[k] = 0;
  for (int k = 0; k < p.matrices.count; ++k) {
    const Matrix& m = p.matrices[k];
    if (rows == 1 && !m.transposed && m.N % kWidth<T> == 0 && m.N * ptrdiff_t(sizeof(T)) <= 4096) {
      const T* from = weights[m.weight] + m.offset;
      const bool straddles = reinterpret_cast<uintptr_t>(from) % kBytes != 0 || m.row % kWidth<T> != 0;
      if (straddles && steps >= kWorthCopying) w.right[k] = {memory.array<T>(m.K * m.N), m.K, m.N};
      else w.right[k] = {const_cast<T*>(from), m.K, m.row};
      continue;
    }
    const ptrdiff_t depth = m.transposed ? units<T>(m.K).width() : m.K;
    w.right[k] = {memory.array<T>(units<T>(m.N).width() * depth), depth, 0};
  }
  for (int k = 0; k < p.biases.count; ++k) w.start[k] = memory.array<T>(units<T>(p.biases[k].N).width());
  return w;
}
template <class T> void pack(const Program& p, const T* const* weights, const PackedWeights<T>& w, ptrdiff_t index, ptrdiff_t size) {
  ptrdiff_t panel = 0;  // of all matrices: part `index` packs every size-th
  for (int k = 0; k < p.matrices.count; ++k) {
    const Matrix& m = p.matrices[k];
    const T* from = weights[m.weight] + m.offset;
    if (w.right[k].row) {  // unpacked: at most a copy
      for (ptrdiff_t r = index; r < m.K && w.right[k].data != from; r += size) __builtin_memcpy(w.right[k].data + r * m.N, from + r * m.row, m.N * sizeof(T));
      continue;
    }
    for (ptrdiff_t q = 0; q < units<T>(m.N).panels(); ++q) {
      if (panel++ % size != index) continue;
      if (m.transposed) pack_panel_transposed(w.right[k].data, from, m.N, m.row, units<T>(m.K), q);
      else pack_panel(w.right[k].data, from, m.K, m.row, units<T>(m.N), q);
    }
  }
  for (int k = 0; k < p.biases.count && index == 0; ++k) pack_row(w.start[k], weights[p.biases[k].weight] + p.biases[k].offset, units<T>(p.biases[k].N));
}

}  // namespace tgr::TGR_ISA
