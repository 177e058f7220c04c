// GRU: z, r = σ(·); h' = z h + (1 - z) n, where
//   reset before the product:  n = tanh(x Wn + bn + (r h) Un)          q = r h
//   reset after it:            n = tanh(x Wn + bn + r (h Un + cn))     q = h Un + cn
// Two groups of columns: z and r, whose columns of the same units are neighbours; and n, whose product is computed after theirs.
//
// Faster than the same cell as a loop program, which is why it exists (RESULTS.md, one thread): with one row 2 to 7 us a call, 1 to 7 % of inference
// and up to 13 % of training; 7 to 10 % at 32 rows of 128 units, 5 % at most at 64 of 256 and 2 % at 500 units.
#pragma once

#include "cell.h"

namespace tgr::TGR_ISA {

template <class T, bool kAfter> struct Gru {
  static constexpr int kGates = 3, kGroups = 2;
  static constexpr bool kCells = false, kCandidate = kAfter, kReset = !kAfter, kSavesGates = true, kSparesPadding = false;
  static Columns<T> columns(int group, ptrdiff_t H) { return group == 0 ? Columns<T>{0, 2, H} : Columns<T>{2, 1, H}; }

  static void step(const Weights<T>& w, ptrdiff_t H, const Rows<T>& rows) {
    constexpr ptrdiff_t W = kWidth<T>;
    const Columns<T> zr = columns(0, H), candidate = columns(1, H);
    const auto finish_zr = [&](ptrdiff_t p, ptrdiff_t first, ptrdiff_t last) {
      for (ptrdiff_t r = first; r < last; ++r) {
        for (ptrdiff_t v = p * kTileVectors, end = v + zr.in_panel(p); v < end; ++v) {
          T* at = rows.gates[0][r] + v * W;
          const Vec<T> gate = sigmoid<T>(load(at));
          store(at, gate);
          if (!kAfter && v % 2 == 1) store(rows.reset[r] + v / 2 * W, gate * load_n(rows.h_before[r] + v / 2 * W, zr.lanes(v)));
        }
      }
    };
    const auto finish_n = [&](ptrdiff_t p, ptrdiff_t first, ptrdiff_t last) {
      for (ptrdiff_t r = first; r < last; ++r) {
        for (ptrdiff_t u = p * kTileVectors, end = u + candidate.in_panel(p); u < end; ++u) {
          const ptrdiff_t lanes = candidate.lanes(u);
          const Vec<T> z = load(rows.gates[0][r] + 2 * u * W), reset = load(rows.gates[0][r] + (2 * u + 1) * W);
          Vec<T> n = load(rows.gates[1][r] + u * W);
          if (kAfter) n = fma(reset, load(rows.candidate[r] + u * W), n);
          n = tanh<T>(n);
          store(rows.gates[1][r] + u * W, n);
          store_n(rows.h_after[r] + u * W, fma(z, load_n(rows.h_before[r] + u * W, lanes), (splat<T>(1) - z) * n), lanes);
        }
      }
    };
    recurrent_panels<T>(zr, H, w.recurrent[0], rows.n, rows.gates[0], nullptr, rows.h_before, finish_zr);
    if (kAfter) {
      recurrent_panels<T>(candidate, H, w.recurrent[1], rows.n, rows.candidate, w.recurrent_bias, rows.h_before, finish_n);
    } else {
      recurrent_panels<T>(candidate, H, w.recurrent[1], rows.n, rows.gates[1], nullptr, const_cast<const T**>(rows.reset), finish_n);
    }
  }

  static void step_back(const Weights<T>& w, ptrdiff_t H, const Rows<T>& rows) {
    constexpr ptrdiff_t W = kWidth<T>;
    const Columns<T> zr = columns(0, H), candidate = columns(1, H);
    const Vec<T> one = splat<T>(1);
    const auto at_zr = [&](ptrdiff_t r, ptrdiff_t u) { return rows.dz[0][r] + u / 2 * rows.panel_jump + u % 2 * 2 * W; };
    const auto at_n = [&](T** store, ptrdiff_t r, ptrdiff_t u) { return store[r] + u / 4 * rows.panel_jump + u % 4 * W; };
    for (ptrdiff_t row = 0; row < rows.n; ++row) {
      for (ptrdiff_t u = 0; u < candidate.blocks(); ++u) {
        const ptrdiff_t lanes = candidate.lanes(u);
        const Vec<T> z = load(rows.gates[0][row] + 2 * u * W), n = load(rows.gates[1][row] + u * W);
        const Vec<T> h = load_n(rows.h_before[row] + u * W, lanes);
        Vec<T> dh = load(rows.dh[row] + u * W);
        if (rows.d_output) dh += load_n(rows.d_output[row] + u * W, lanes);
        const Vec<T> dn = dh * (one - z) * (one - n * n);
        store(at_n(rows.dz[1], row, u), keep_n<T>(dn, lanes));
        store(at_zr(row, u), keep_n<T>(dh * (h - n) * z * (one - z), lanes));
        store(rows.dh[row] + u * W, dh * z);
        if (kAfter) {
          const Vec<T> r = load(rows.gates[0][row] + (2 * u + 1) * W), q = load(rows.candidate[row] + u * W);
          store(at_n(rows.dq, row, u), keep_n<T>(dn * r, lanes));
          store(at_zr(row, u) + W, keep_n<T>(dn * q * r * (one - r), lanes));
        }
      }
    }
    if (kAfter) {
      back_through<T>(candidate, H, w.recurrent_t[1], rows.n, rows.dq, rows.panel_jump, rows.dh, true);
    } else {
      // The cotangent of r h gives those of r and of h.
      back_through<T>(candidate, H, w.recurrent_t[1], rows.n, rows.dz[1], rows.panel_jump, rows.reset, false);
      for (ptrdiff_t row = 0; row < rows.n; ++row) {
        for (ptrdiff_t u = 0; u < candidate.blocks(); ++u) {
          const ptrdiff_t lanes = candidate.lanes(u);
          const Vec<T> r = load(rows.gates[0][row] + (2 * u + 1) * W), d_reset = load(rows.reset[row] + u * W);
          const Vec<T> h = load_n(rows.h_before[row] + u * W, lanes), q = r * h;
          store(at_zr(row, u) + W, keep_n<T>(d_reset * h * r * (one - r), lanes));
          store(rows.dh[row] + u * W, fma(d_reset, r, load(rows.dh[row] + u * W)));
          store(rows.reset[row] + u * W, q);  // the gradient of Un needs it
        }
      }
    }
    back_through<T>(zr, H, w.recurrent_t[0], rows.n, rows.dz[0], rows.panel_jump, rows.dh, true);
  }
};

}  // namespace tgr::TGR_ISA
