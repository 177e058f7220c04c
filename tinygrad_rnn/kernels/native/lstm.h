// LSTM: i, f, g, o = split(x W + h U + b); c' = σ(f) c + σ(i) tanh(g); h' = σ(o) tanh(c').
//
// Its inference has two special paths that avoid work on padding (kSparesPadding): see Weights::direct and Columns::narrow.
//
// Faster than the same cell as a loop program, which is why it exists (RESULTS.md, one thread): with one row 9 us a call, 8 to 11 % of inference,
// and nothing of training; 3 to 9 % at 32 rows of 128 units, 2 to 4 % at 64 of 256; equal at 500 units.
#pragma once

#include "cell.h"

namespace tgr::TGR_ISA {

template <class T> struct Lstm {
  static constexpr int kGates = 4, kGroups = 1;
  static constexpr bool kCells = true, kCandidate = false, kReset = false, kSavesGates = true, kSparesPadding = true;
  static Columns<T> columns(int, ptrdiff_t H) { return {0, 4, H}; }  // the four gates of one vector of units are one panel

  static void step(const Weights<T>& w, ptrdiff_t H, const Rows<T>& rows) {
    constexpr ptrdiff_t W = kWidth<T>;
    const Columns<T> all = columns(0, H);
    const auto finish = [&](T* z, ptrdiff_t apart, ptrdiff_t r, ptrdiff_t u) {
      const Vec<T> i = sigmoid<T>(load(z)), f = sigmoid<T>(load(z + apart)), g = tanh<T>(load(z + 2 * apart)), o = sigmoid<T>(load(z + 3 * apart));
      const Vec<T> c = fma(f, load(rows.c_before[r] + u * W), i * g);
      if (apart == W) store(z, i), store(z + W, f), store(z + 2 * W, g), store(z + 3 * W, o);
      store(rows.c_after[r] + u * W, c);
      store_n(rows.h_after[r] + u * W, o * tanh<T>(c), all.lanes(u * 4));
    };
    if (w.direct) {
      row_product<T>(rows.gates[0][0], rows.h_before[0], w.recurrent[0].data, 4 * H / W, H);
      for (ptrdiff_t u = 0; u < all.blocks(); ++u) finish(rows.gates[0][0] + u * W, H, 0, u);
      return;
    }
    const Columns<T> gates = columns_of<T, Lstm>(w, 0, H);
    recurrent_panels<T>(gates, H, w.recurrent[0], rows.n, rows.gates[0], nullptr, rows.h_before, [&](ptrdiff_t u, ptrdiff_t first, ptrdiff_t last) {
      const ptrdiff_t apart = gates.narrow && u == gates.blocks() - 1 ? gates.left_over() : W;
      for (ptrdiff_t r = first; r < last; ++r) finish(rows.gates[0][r] + u * 4 * W, apart, r, u);
    });
  }

  static void step_back(const Weights<T>& w, ptrdiff_t H, const Rows<T>& rows) {
    constexpr ptrdiff_t W = kWidth<T>;
    const Columns<T> gates = columns(0, H);
    for (ptrdiff_t r = 0; r < rows.n; ++r) {
      for (ptrdiff_t u = 0; u < gates.blocks(); ++u) {
        const ptrdiff_t lanes = gates.lanes(u * 4);
        const T* z = rows.gates[0][r] + u * 4 * W;
        const Vec<T> i = load(z), f = load(z + W), g = load(z + 2 * W), o = load(z + 3 * W);
        const Vec<T> tanh_c = tanh<T>(load(rows.c_saved[r] + u * W)), one = splat<T>(1);
        Vec<T> dh = load(rows.dh[r] + u * W), dc = load(rows.dc[r] + u * W);
        if (rows.d_output) dh += load_n(rows.d_output[r] + u * W, lanes);
        if (rows.d_cell) dc += load_n(rows.d_cell[r] + u * W, lanes);
        dc = fma(dh * o, one - tanh_c * tanh_c, dc);
        T* dz = rows.dz[0][r] + u * rows.panel_jump;
        store(dz, keep_n<T>(dc * g * i * (one - i), lanes));
        store(dz + W, keep_n<T>(dc * load(rows.c_before[r] + u * W) * f * (one - f), lanes));
        store(dz + 2 * W, keep_n<T>(dc * i * (one - g * g), lanes));
        store(dz + 3 * W, keep_n<T>(dh * tanh_c * o * (one - o), lanes));
        store(rows.dc[r] + u * W, dc * f);
      }
    }
    back_through<T>(gates, H, w.recurrent_t[0], rows.n, rows.dz[0], rows.panel_jump, rows.dh, false);
  }
};

}  // namespace tgr::TGR_ISA
