// Shared by the three cells: packed weights, and pointers to the rows of one step.
#pragma once

#include "math.h"
#include "pack.h"
#include "problem.h"

namespace tgr::TGR_ISA {

constexpr int kMaxGroups = 2;  // the GRU's candidate depends on its other gates: two groups of columns, two products

// The weights of one call in packed order, by group of gates.
template <class T> struct Weights {
  Right<T> kernel[kMaxGroups], recurrent[kMaxGroups];
  const T* bias[kMaxGroups];
  T* recurrent_bias;                                      // GRU, reset_after: of the candidate
  Right<T> kernel_t[kMaxGroups], recurrent_t[kMaxGroups];  // transposed, for backward
  bool direct;  // inference of one row: unpacked weights; the gates are contiguous, each H wide
  bool narrow;  // inference: the gates of the last units are stored without gaps (see Columns)
  bool swapped;  // the weights have the GRU's gates in the order r z n (see Columns)
};

// The order of the columns of one group of gates in these weights, for a cell C.
template <class T, class C> Columns<T> columns_of(const Weights<T>& w, int group, ptrdiff_t H) {
  if (w.direct) return {0, 1, C::kGates * H};
  Columns<T> columns = C::columns(group, H);
  columns.narrow = w.narrow;
  columns.swapped = w.swapped;
  return columns;
}

// The rows that compute one step together, as pointers to each row's data. Gates are in packed order; states are in the order of the units,
// padded to whole vectors.
template <class T> struct Rows {
  ptrdiff_t n;
  T** gates[kMaxGroups];  // x W + b on entry, activated gates on return
  T** candidate;          // GRU, reset_after: h Un + b, kept for backward
  T** reset;              // GRU, not reset_after: r h
  const T **h_before, **h_after_saved, **c_before, **c_saved;
  T **h_after, **c_after;
  // backward only
  const T **d_output, **d_cell;            // null: a cotangent of zero
  T **dh, **dc;                            // on entry from the later step, on return for the earlier one
  T **dz[kMaxGroups], **dq;                // panel p of a row is at dz[row] + p * panel_jump
  ptrdiff_t panel_jump;
};

template <class T> TGR_INLINE Columns<T> units(ptrdiff_t H) { return {0, 1, H}; }

// C += h U for one group of gates, panel by panel. finish(panel, first row, last row) is called while the results are still in the L1 cache.
template <class T, class Finish>
TGR_INLINE void recurrent_panels(const Columns<T>& columns, ptrdiff_t H, const Right<T>& right, ptrdiff_t n, T* const* c, const T* start,
                                 const T* const* left, const Finish& finish) {
  for (ptrdiff_t p = 0; p < columns.panels(); ++p) {
    for (ptrdiff_t r = 0; r < n; r += kBlockRows) {
      const ptrdiff_t rows = smaller(kBlockRows, n - r), at = p * kTileVectors * kWidth<T>;
      product(rows, c + r, at, start ? start + at : nullptr, plain(left + r), right.panel(p), right.step(columns.in_panel(p)),
              columns.in_panel(p), H);
      finish(p, r, r + rows);
    }
  }
}

// dh = dz U^T, or with `add` dh += dz U^T, for one group of gates.
template <class T>
void back_through(const Columns<T>& columns, ptrdiff_t H, const Right<T>& right, ptrdiff_t n, T* const* dz, ptrdiff_t panel_jump, T* const* dh,
                  bool add) {
  static constexpr T zeros[kTileVectors * kWidth<T>] = {};
  const Columns<T> across = units<T>(H);
  const Left<T> left{dz, 0, kTileVectors * kWidth<T>, panel_jump};
  for (ptrdiff_t p = 0; p < across.panels(); ++p) {
    product(n, dh, p * kTileVectors * kWidth<T>, add ? nullptr : zeros, left, right.panel(p), right.step(across.in_panel(p)), across.in_panel(p),
            columns.width());
  }
}

}  // namespace tgr::TGR_ISA
