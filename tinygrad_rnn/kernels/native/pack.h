// Packed weights: the columns are in panels of 4 vectors, in which the gates of the same units are neighbours.
#pragma once

#include "gemm.h"

namespace tgr::TGR_ISA {

// The columns of some gates of a matrix (rows, all gates * H), or with one gate the columns of any matrix. Vector v holds gate
// first + v % gates of units v / gates * W onwards; the last units are padded with zeros to a full vector. If gates are not saved, those of
// the last units can be stored without gaps (`narrow`): with 500 units, 1 vector holds the gates of the last 4, 125 vectors instead of 128; with
// 200 units, 2 vectors those of the last 8, 50 instead of 52.
template <class T> struct Columns {
  ptrdiff_t first, gates, H;
  bool narrow = false;
  bool swapped = false;  // the matrix has the first two gates in the opposite order
  static constexpr ptrdiff_t W = kWidth<T>;
  ptrdiff_t blocks() const { return (H + W - 1) / W; }
  ptrdiff_t left_over() const { return H % W; }
  ptrdiff_t vectors() const { return narrow ? whole() + (left_over() * gates + W - 1) / W : blocks() * gates; }
  ptrdiff_t whole() const { return (narrow ? blocks() - 1 : blocks()) * gates; }  // vectors that hold one gate each
  ptrdiff_t width() const { return vectors() * W; }
  ptrdiff_t panels() const { return (vectors() + kTileVectors - 1) / kTileVectors; }
  ptrdiff_t in_panel(ptrdiff_t p) const { return smaller<ptrdiff_t>(kTileVectors, vectors() - p * kTileVectors); }
  ptrdiff_t column(ptrdiff_t v) const {
    const ptrdiff_t gate = first + v % gates;
    return (swapped && gate < 2 ? 1 - gate : gate) * H + v / gates * W;
  }
  ptrdiff_t lanes(ptrdiff_t v) const { return smaller(W, H - v / gates * W); }
  // The column that lane l of vector v holds; -1 for padding.
  ptrdiff_t lane(ptrdiff_t v, ptrdiff_t l) const {
    if (v < whole()) return l < lanes(v) ? column(v) + l : -1;
    const ptrdiff_t n = left_over(), at = (v - whole()) * W + l;
    return at < gates * n ? (first + at / n + 1) * H - n + at % n : -1;
  }
};

// Vector v of a row of the matrix.
template <class T> TGR_INLINE Vec<T> gather(const T* row, const Columns<T>& columns, ptrdiff_t v) {
  if (v < columns.whole()) return load_n(row + columns.column(v), columns.lanes(v));
  T last[kTileVectors * kWidth<T>] = {};  // all gates of the last units, fewer than a vector
  const ptrdiff_t n = columns.left_over();
  for (ptrdiff_t g = 0; g < columns.gates; ++g) store(last + g * n, load_n(row + (columns.first + g + 1) * columns.H - n, n));
  return load(last + (v - columns.whole()) * kWidth<T>);
}

// The offset of panel p in a packed matrix with K rows.
template <class T> TGR_INLINE ptrdiff_t panel_at(ptrdiff_t p, ptrdiff_t K) { return p * kTileVectors * kWidth<T> * K; }

// A right operand: packed, or (if `row` is not 0) an unpacked matrix in C order whose rows are `row` elements apart.
template <class T> struct Right {
  T* data;
  ptrdiff_t K, row;
  const T* panel(ptrdiff_t p) const { return data + (row ? p * kTileVectors * kWidth<T> : panel_at<T>(p, K)); }
  ptrdiff_t step(ptrdiff_t vectors) const { return row ? row : vectors * kWidth<T>; }
};

// Packs panel p of the matrix w (K rows, `stride` apart).
template <class T> void pack_panel(T* out, const T* w, ptrdiff_t K, ptrdiff_t stride, const Columns<T>& columns, ptrdiff_t p) {
  const ptrdiff_t nv = columns.in_panel(p);
  out += panel_at<T>(p, K);
  if (p * kTileVectors >= columns.whole()) {
    for (ptrdiff_t k = 0; k < K; ++k) {
      for (ptrdiff_t v = 0; v < nv; ++v, out += kWidth<T>) store(out, gather(w + k * stride, columns, p * kTileVectors + v));
    }
    return;
  }
  const T* from[kTileVectors];
  ptrdiff_t lanes[kTileVectors];
  for (ptrdiff_t v = 0; v < nv; ++v) from[v] = w + columns.column(p * kTileVectors + v), lanes[v] = columns.lanes(p * kTileVectors + v);
  for (ptrdiff_t k = 0; k < K; ++k) {
    for (ptrdiff_t v = 0; v < nv; ++v, out += kWidth<T>) store(out, load_n(from[v] + k * stride, lanes[v]));
  }
}

// Packs panel p of the transpose of w: the transpose's rows k are the columns of w, in packed order; its columns are the N rows of w.
template <class T>
void pack_panel_transposed(T* out, const T* w, ptrdiff_t N, ptrdiff_t stride, const Columns<T>& columns, ptrdiff_t p) {
  const Columns<T> across{0, 1, N};
  const ptrdiff_t K = columns.width(), width = across.in_panel(p) * kWidth<T>, n0 = p * kTileVectors * kWidth<T>;
  const ptrdiff_t present = smaller(width, N - n0);
  out += panel_at<T>(p, K);
  for (ptrdiff_t v = 0; v < columns.vectors(); ++v) {
    const ptrdiff_t from = columns.column(v), lanes = columns.lanes(v);
    T* to = out + v * kWidth<T> * width;
    for (ptrdiff_t n = 0; n < width; n += kWidth<T>) {
      Vec<T> square[kWidth<T>];
#pragma GCC unroll 16
      for (ptrdiff_t l = 0; l < kWidth<T>; ++l) square[l] = n + l < present ? load_n(w + (n0 + n + l) * stride + from, lanes) : Vec<T>{};
      transpose<T>(square);
#pragma GCC unroll 16
      for (ptrdiff_t l = 0; l < kWidth<T>; ++l) store(to + l * width + n, square[l]);
    }
  }
}

// As pack_panel, for a matrix in column-major order: column c is at w + c * stride.
template <class T> void pack_panel_column_major(T* out, const T* w, ptrdiff_t K, ptrdiff_t stride, const Columns<T>& columns, ptrdiff_t p) {
  constexpr ptrdiff_t W = kWidth<T>;
  const ptrdiff_t nv = columns.in_panel(p);
  out += panel_at<T>(p, K);
  for (ptrdiff_t v = 0; v < nv; ++v) {
    const T* from[W];
    for (ptrdiff_t l = 0; l < W; ++l) {
      const ptrdiff_t c = columns.lane(p * kTileVectors + v, l);
      from[l] = c < 0 ? nullptr : w + c * stride;
    }
    for (ptrdiff_t k = 0; k < K; k += W) {
      const ptrdiff_t some = smaller(W, K - k);
      Vec<T> square[W];
#pragma GCC unroll 16
      for (ptrdiff_t l = 0; l < W; ++l) square[l] = from[l] ? load_n(from[l] + k, some) : Vec<T>{};
      transpose<T>(square);
      for (ptrdiff_t j = 0; j < some; ++j) store(out + (k + j) * nv * W + v * W, square[j]);
    }
  }
}

// As pack_panel_transposed, for a matrix in column-major order.
template <class T>
void pack_panel_transposed_column_major(T* out, const T* w, ptrdiff_t N, ptrdiff_t stride, const Columns<T>& columns, ptrdiff_t p) {
  constexpr ptrdiff_t W = kWidth<T>;
  const Columns<T> across{0, 1, N};
  const ptrdiff_t width = across.in_panel(p) * W, n0 = p * kTileVectors * W, present = smaller(width, N - n0);
  out += panel_at<T>(p, columns.width());
  for (ptrdiff_t v = 0; v < columns.vectors(); ++v) {
    for (ptrdiff_t l = 0; l < W; ++l, out += width) {
      const ptrdiff_t c = columns.lane(v, l);
      for (ptrdiff_t n = 0; n < width; n += W) {
        store(out + n, c >= 0 && n < present ? load_n(w + c * stride + n0 + n, smaller(W, present - n)) : Vec<T>{});
      }
    }
  }
}

// Copies a row of biases to packed order.
template <class T> void pack_row(T* out, const T* bias, const Columns<T>& columns) {
  for (ptrdiff_t v = 0; v < columns.vectors(); ++v) store(out + v * kWidth<T>, gather(bias, columns, v));
}

// Packs tiles first .. last of the transpose of `left` (depth rows of M elements): kTileRows contiguous values of each row, row after row.
// A few rows at a time, so that both source and destination stay in the L1 cache.
template <class T>
void pack_left(T* out, const T* const* left, ptrdiff_t depth, ptrdiff_t first, ptrdiff_t last, ptrdiff_t M) {
  constexpr ptrdiff_t kSome = 8;
  for (ptrdiff_t k = 0; k < depth; k += kSome) {
    const ptrdiff_t end = smaller(depth, k + kSome);
    for (ptrdiff_t tile = first; tile < last; ++tile) {
      const ptrdiff_t m = tile * kTileRows, height = smaller<ptrdiff_t>(kTileRows, M - m);
      T* to = out + ((tile - first) * depth + k) * kTileRows;
      if (height == kTileRows) {
        for (ptrdiff_t r = k; r < end; ++r, to += kTileRows) __builtin_memcpy(to, left[r] + m, kTileRows * sizeof(T));
      } else {
        for (ptrdiff_t r = k; r < end; ++r, to += kTileRows) __builtin_memcpy(to, left[r] + m, height * sizeof(T));
      }
    }
  }
}

// Writes columns first .. last of a matrix (rows x columns, in C order) as rows of its transpose.
template <class T> void write_transposed(T* to, const T* from, ptrdiff_t rows, ptrdiff_t columns, ptrdiff_t first, ptrdiff_t last) {
  constexpr ptrdiff_t W = kWidth<T>;
  for (ptrdiff_t c = first; c < last; c += W) {
    const ptrdiff_t across = smaller(W, last - c);
    for (ptrdiff_t r = 0; r < rows; r += W) {
      const ptrdiff_t down = smaller(W, rows - r);
      Vec<T> square[W];
#pragma GCC unroll 16
      for (ptrdiff_t l = 0; l < W; ++l) square[l] = l < down ? load_n(from + (r + l) * columns + c, across) : Vec<T>{};
      transpose<T>(square);
      for (ptrdiff_t l = 0; l < across; ++l) store_n(to + (c + l) * rows + r, square[l], down);
    }
  }
}

// Adds one panel of a row, in packed order, to a row in the order of the weights' columns.
template <class T> void add_to_columns(T* row, const T* values, const Columns<T>& columns, ptrdiff_t panel) {
  constexpr ptrdiff_t W = kWidth<T>;
  for (ptrdiff_t v = panel * kTileVectors, end = v + columns.in_panel(panel); v < end; ++v, values += W) {
    T* at = row + columns.column(v);
    const ptrdiff_t lanes = columns.lanes(v);
    store_n(at, load_n(at, lanes) + load(values), lanes);
  }
}

}  // namespace tgr::TGR_ISA
