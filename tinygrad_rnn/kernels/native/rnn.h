// Elman's cell: h' = φ(x W + h U + b), φ = tanh or relu. Backward needs nothing but h'.
//
// Faster than the same cell as a loop program, which is why it exists (RESULTS.md, one thread): with one row 5 us of an inference of 40 us,
// nearly all of it the cost of a call in Python, and nothing of a training step; 3 to 4 % at 32 rows of 128 units, equal beyond.
#pragma once

#include "cell.h"

namespace tgr::TGR_ISA {

template <class T, bool kRelu> struct Rnn {
  static constexpr int kGates = 1, kGroups = 1;
  static constexpr bool kCells = false, kCandidate = false, kReset = false, kSavesGates = false, kSparesPadding = false;
  static Columns<T> columns(int, ptrdiff_t H) { return units<T>(H); }

  static void step(const Weights<T>& w, ptrdiff_t H, const Rows<T>& rows) {
    constexpr ptrdiff_t W = kWidth<T>;
    const Columns<T> gates = columns(0, H);
    const auto finish = [&](ptrdiff_t p, ptrdiff_t first, ptrdiff_t last) {
      for (ptrdiff_t r = first; r < last; ++r) {
        for (ptrdiff_t v = p * kTileVectors, end = v + gates.in_panel(p); v < end; ++v) {
          const Vec<T> z = load(rows.gates[0][r] + v * W);
          // The comparison is false for NaN, so NaN must be kept on that side.
          store_n(rows.h_after[r] + v * W, kRelu ? (z < Vec<T>{} ? Vec<T>{} : z) : tanh<T>(z), gates.lanes(v));
        }
      }
    };
    recurrent_panels<T>(gates, H, w.recurrent[0], rows.n, rows.gates[0], nullptr, rows.h_before, finish);
  }

  static void step_back(const Weights<T>& w, ptrdiff_t H, const Rows<T>& rows) {
    constexpr ptrdiff_t W = kWidth<T>;
    const Columns<T> gates = columns(0, H);
    for (ptrdiff_t r = 0; r < rows.n; ++r) {
      for (ptrdiff_t v = 0; v < gates.vectors(); ++v) {
        const ptrdiff_t lanes = gates.lanes(v);
        const Vec<T> h = load_n(rows.h_after_saved[r] + v * W, lanes);
        Vec<T> dh = load(rows.dh[r] + v * W);
        if (rows.d_output) dh += load_n(rows.d_output[r] + v * W, lanes);
        // Where relu returned 0 the gradient is 0, even of a NaN cotangent; where it returned NaN the cotangent passes (as in PyTorch and
        // ops/pointwise.py).
        const Vec<T> through = kRelu ? (h <= Vec<T>{} ? Vec<T>{} : dh) : dh * (splat<T>(1) - h * h);
        T* dz = rows.dz[0][r] + v / kTileVectors * rows.panel_jump + v % kTileVectors * W;
        store(dz, keep_n<T>(through, lanes));
      }
    }
    back_through<T>(gates, H, w.recurrent_t[0], rows.n, rows.dz[0], rows.panel_jump, rows.dh, false);
  }
};

}  // namespace tgr::TGR_ISA
