// The matrix product that all kernels use: a tile of C, held in registers, plus rows of A times a packed panel of B.
//
// A panel is 4 vectors of columns (fewer in the last). Its rows k are contiguous or, if packing would not pay, in the matrix itself, a row's
// stride apart. Rows of A and C are addressed by pointers, so inputs, outputs and states are used in place, without copies. Every element of
// C is one chain over increasing k: c = fma(a[k], b[k], c). It is the same chain for every number of rows in the tile, so a row's result
// does not depend on the rows it is computed with.
#pragma once

#include "simd.h"

namespace tgr::TGR_ISA {

constexpr ptrdiff_t kBlockK = 512;  // rows of a panel used at a time: 64 columns of them are 128 KB, which stays in the L2 cache
constexpr ptrdiff_t kBlockRows = 48;

// Rows of the left operand. Element k of row r is at row[r][offset + k / segment * jump + k % segment].
template <class T> struct Left {
  const T* const* row;
  ptrdiff_t offset, segment, jump;
  ptrdiff_t at(ptrdiff_t k) const { return offset + (jump == 0 ? k : k / segment * jump + k % segment); }
  Left from(ptrdiff_t r) const { return {row + r, offset, segment, jump}; }
};
template <class T> TGR_INLINE Left<T> plain(const T* const* row) { return {row, 0, PTRDIFF_MAX, 0}; }

// C's initial values are `start` (one row of a panel's width, used for every row of C) or, if that is null, the contents of C.
template <class T, int R, int NV>
void tile(T* const* c, ptrdiff_t c_offset, const T* start, const T* const* a, ptrdiff_t a_offset, ptrdiff_t segment, ptrdiff_t jump,
          const T* b, ptrdiff_t b_step, ptrdiff_t K) {
  constexpr ptrdiff_t W = kWidth<T>;
  Vec<T> acc[R][NV];
  const T* left[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    left[r] = a[r] + a_offset;
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) acc[r][v] = load(start ? start + v * W : c[r] + c_offset + v * W);
  }
  while (K > 0) {
    const ptrdiff_t n = smaller(K, segment);
    for (ptrdiff_t k = 0; k < n; ++k, b += b_step) {
      Vec<T> col[NV];
#pragma GCC unroll 16
      for (int v = 0; v < NV; ++v) col[v] = load(b + v * W);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const Vec<T> x = splat(left[r][k]);
#pragma GCC unroll 16
        for (int v = 0; v < NV; ++v) acc[r][v] = fma(x, col[v], acc[r][v]);
      }
    }
    K -= n;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) left[r] += jump;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) store(c[r] + c_offset + v * W, acc[r][v]);
  }
}

// As above with A packed: the kTileRows values of one k are contiguous. C is a small buffer of R rows, kTileVectors vectors apart, overwritten.
template <class T, int R, int NV> void tile_packed(T* c, const T* a, const T* b, ptrdiff_t b_step, ptrdiff_t K) {
  constexpr ptrdiff_t W = kWidth<T>;
  Vec<T> acc[R][NV] = {};
  for (ptrdiff_t k = 0; k < K; ++k, a += kTileRows, b += b_step) {
    Vec<T> col[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) col[v] = load(b + v * W);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vec<T> x = splat(a[r]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) acc[r][v] = fma(x, col[v], acc[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) store(c + (r * kTileVectors + v) * W, acc[r][v]);
  }
}

template <class T> using Tile = void (*)(T* const*, ptrdiff_t, const T*, const T* const*, ptrdiff_t, ptrdiff_t, ptrdiff_t, const T*, ptrdiff_t,
                                     ptrdiff_t);
template <class T> using TilePacked = void (*)(T*, const T*, const T*, ptrdiff_t, ptrdiff_t);

#define TGR_TILES(name, r) {name<T, r, 1>, name<T, r, 2>, name<T, r, 3>, name<T, r, 4>}
template <class T> struct Tiles {
  static Tile<T> plain(ptrdiff_t rows, ptrdiff_t vectors) {
    static constexpr Tile<T> table[kTileRows][4] = {
        TGR_TILES(tile, 1), TGR_TILES(tile, 2), TGR_TILES(tile, 3),
#if TGR_AVX512 || TGR_NEON
        TGR_TILES(tile, 4), TGR_TILES(tile, 5), TGR_TILES(tile, 6),
#endif
    };
    return table[rows - 1][vectors - 1];
  }
  static TilePacked<T> packed(ptrdiff_t rows, ptrdiff_t vectors) {
    static constexpr TilePacked<T> table[kTileRows][4] = {
        TGR_TILES(tile_packed, 1), TGR_TILES(tile_packed, 2), TGR_TILES(tile_packed, 3),
#if TGR_AVX512 || TGR_NEON
        TGR_TILES(tile_packed, 4), TGR_TILES(tile_packed, 5), TGR_TILES(tile_packed, 6),
#endif
    };
    return table[rows - 1][vectors - 1];
  }
};
#undef TGR_TILES

// Seven or eight rows by two vectors, if there are registers for it. As two tiles of a whole panel, these rows would read the panel twice, and
// a panel of more than 128 rows does not fit the L1 cache.
constexpr bool kHasTall = kTileRows == 6;
template <class T> Tile<T> tall_tile(ptrdiff_t rows, ptrdiff_t vectors) {
#if TGR_AVX512 || TGR_NEON
  static constexpr Tile<T> table[2][2] = {{tile<T, 7, 1>, tile<T, 7, 2>}, {tile<T, 8, 1>, tile<T, 8, 2>}};
  return table[rows - 7][vectors - 1];
#else
  return Tiles<T>::plain(rows, vectors);
#endif
}

// One row times an unpacked matrix, c += a B, many columns at a time, so that long contiguous pieces of memory are read.
constexpr ptrdiff_t kWide = kTileRows == 6 ? 16 : 8;
template <class T> void row_by_columns(T* c, const T* a, const T* b, ptrdiff_t b_step, ptrdiff_t vectors, ptrdiff_t K) {
#define TGR_WIDE(n) tile<T, 1, n>, tile<T, 1, n + 1>, tile<T, 1, n + 2>, tile<T, 1, n + 3>
  static constexpr Tile<T> table[kWide] = {
      TGR_WIDE(1), TGR_WIDE(5),
#if TGR_AVX512 || TGR_NEON
      TGR_WIDE(9), TGR_WIDE(13),
#endif
  };
#undef TGR_WIDE
  const ptrdiff_t passes = (vectors + kWide - 1) / kWide, low = vectors / larger<ptrdiff_t>(passes, 1), more = vectors - low * passes;
  for (ptrdiff_t p = 0, at = 0; p < passes; ++p) {
    const ptrdiff_t n = low + (p < more);
    table[n - 1](&c, at, nullptr, &a, 0, PTRDIFF_MAX, 0, b + at, b_step, K);
    at += n * kWidth<T>;
  }
}

// The columns on both sides of a row's end that falls within an aligned vector: the last `before` columns of row k and the first columns of row
// k + 1 are read as one vector, and multiplied by a[k] and a[k + 1].
template <class T> void row_across_boundary(T* c, const T* a, const T* b, ptrdiff_t columns, ptrdiff_t before, ptrdiff_t K) {
  constexpr ptrdiff_t W = kWidth<T>;
  const ptrdiff_t after = W - before, size = ptrdiff_t(sizeof(T));
  alignas(kBytes) T ends[W] = {}, starts[W] = {}, first[W] = {};
  __builtin_memcpy(ends, c + columns - before, before * size);
  __builtin_memcpy(starts + before, c, after * size);
  __builtin_memcpy(first + before, b, after * size);
  Vec<T> last = load(ends), next = fma(splat(a[0]), load(first), load(starts));
  const T* boundary = b + columns - before;
  for (ptrdiff_t k = 0; k + 1 < K; ++k, boundary += columns) {
    const Vec<T> both = load(boundary);
    last = fma(splat(a[k]), both, last);
    next = fma(splat(a[k + 1]), both, next);
  }
  store(ends, fma(splat(a[K - 1]), load_n(boundary, before), last));
  store(starts, next);
  __builtin_memcpy(c + columns - before, ends, before * size);
  __builtin_memcpy(c, starts + before, after * size);
}

// One row times an unpacked matrix whose rows are contiguous and whole vectors. If its address is not a multiple of a vector's size (NumPy
// does not align arrays so), the columns are shifted so that the loads are aligned: a vector that crosses a cache line costs two reads.
template <class T> void row_product(T* c, const T* a, const T* b, ptrdiff_t vectors, ptrdiff_t K) {
  const ptrdiff_t columns = vectors * kWidth<T>, past = ptrdiff_t(reinterpret_cast<uintptr_t>(b) % kBytes / sizeof(T));
  if (past == 0 || vectors < 2 || K == 0) return row_by_columns(c, a, b, columns, vectors, K);
  const ptrdiff_t skip = kWidth<T> - past;
  row_by_columns(c + skip, a, b + skip, columns, vectors - 1, K);
  row_across_boundary(c, a, b, columns, past, K);
}

// Prefetches the rows of C that the next tile begins with, which are far apart in memory, while this tile is computed.
template <class T> TGR_INLINE void prefetch_rows(T* const* c, ptrdiff_t offset, ptrdiff_t rows) {
  for (ptrdiff_t r = 0; r < rows; ++r) {
    for (ptrdiff_t v = 0; v < kTileVectors * kBytes; v += 64) __builtin_prefetch(reinterpret_cast<const char*>(c[r] + offset) + v, 1);
  }
}

// C (rows x one panel) = start, or C, + A (rows x K) times a panel (K rows of `vectors`, `step` apart).
template <class T>
void product(ptrdiff_t rows, T* const* c, ptrdiff_t c_offset, const T* start, const Left<T>& a, const T* panel, ptrdiff_t step, ptrdiff_t vectors,
             ptrdiff_t K) {
  if (rows == 0) return;
  if (kHasTall && (rows == 7 || rows == 8)) {
    for (ptrdiff_t v = 0; v < vectors; v += 2) {
      const ptrdiff_t at = v * kWidth<T>, n = smaller<ptrdiff_t>(2, vectors - v);
      tall_tile<T>(rows, n)(c, c_offset + at, start ? start + at : nullptr, a.row, a.offset, a.segment, a.jump, panel + at, step, K);
    }
    return;
  }
  const ptrdiff_t tiles = (rows + kTileRows - 1) / kTileRows, low = rows / tiles, more = rows % tiles;  // heights that differ by at most 1
  ptrdiff_t k = 0;
  do {
    const ptrdiff_t n = smaller(K - k, kBlockK), a_offset = a.at(k);
    for (ptrdiff_t t = 0, r = 0; t < tiles; ++t) {
      const ptrdiff_t height = low + (t < more);
      if (t + 1 < tiles) prefetch_rows(c + r + height, c_offset, low + (t + 1 < more));
      else prefetch_rows(c, c_offset + kTileVectors * kWidth<T>, low + (more > 0));  // the next panel's
      Tiles<T>::plain(height, vectors)(c + r, c_offset, k == 0 ? start : nullptr, a.row + r, a_offset, a.segment, a.jump,
                                       panel + k * step, step, n);
      r += height;
    }
    k += n;
  } while (k < K);
}

}  // namespace tgr::TGR_ISA
