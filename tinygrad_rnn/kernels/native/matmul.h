// The product of two large matrices, or of a batch of pairs, in any layout: for dense layers and their gradients. It uses the tile and the
// threads of the recurrent kernels, so that no second thread pool (BLAS's) competes with them for the cores.
//
// C is divided into regions, each computed by one thread over all k. One operand may be packed once for all threads: B if C has many rows, the
// transposed A if it has many columns. Each thread packs the other itself, a block of kBlockK rows of a panel at a time. An element of C is
// one chain over increasing k (or, with a transposed A, the sum in order of one chain for each kBlockK of them) whatever its region, so the
// result is the same, bit for bit, for any number of threads.
#pragma once

#include "layout.h"

namespace tgr::TGR_ISA {

constexpr ptrdiff_t kDirectRows = 2 * kTileRows;   // with at most so many rows of C, B is not packed
constexpr ptrdiff_t kSharedBytes = 8 << 20;        // of an operand that is packed for all threads at a time
constexpr ptrdiff_t kPiecesPerThread = 4;          // at least, if the matrix is large enough
constexpr ptrdiff_t kLeastTiles = 8, kMostTiles = 32;  // tiles in a region, which read the same panel

template <class T> class Matmul {
  static constexpr ptrdiff_t W = kWidth<T>, kPanel = kTileVectors * kWidth<T>;

  struct Region {
    ptrdiff_t item, row, rows, panel, panels;
  };
  struct Scratch {
    T **c, **tail_row;
    const T** a;
    const T** depth;  // rows of the transposed A
    T *left, *right, *tail;
  };

 public:
  Matmul(const Product<T>& p, Workspace& memory, int threads)
      : p_(p), across_{0, 1, p.N}, left_packed_(p.a_step != 1), direct_(p.b_column == 1 && p.M <= kDirectRows), tiles_(tiles(p.M)) {
    const ptrdiff_t panels = across_.panels(), wanted = kPiecesPerThread * threads;
    by_columns_ = p.batch == 1 && p.N > p.M && panels >= wanted / 2;
    if (p.batch == 1) {
      share_left_ = by_columns_ && left_packed_;
      share_right_ = !by_columns_ && !direct_;
    }
    if (by_columns_) {
      panels_ = larger<ptrdiff_t>(panels / larger<ptrdiff_t>(wanted, panels / 8), 1);
    } else {
      const ptrdiff_t each = (p.M * p.batch + wanted - 1) / wanted;
      rows_ = smaller(larger<ptrdiff_t>(tiles(each), p.batch == 1 ? kLeastTiles : 2), kMostTiles) * kTileRows;
      const ptrdiff_t regions = (p.M + rows_ - 1) / rows_ * p.batch;  // if there are few, they are divided by panels too
      panels_ = larger<ptrdiff_t>(panels / larger<ptrdiff_t>((wanted + regions - 1) / regions, 1), 1);
    }
    if (by_columns_ || rows_ > p.M) rows_ = tiles_ * kTileRows;
    row_regions_ = (p.M + rows_ - 1) / rows_;
    panel_regions_ = (panels + panels_ - 1) / panels_;

    const ptrdiff_t shared = share_left_ ? tiles_ * kTileRows : share_right_ ? across_.width() : 0;
    depth_ = p.K;
    if (shared) {
      depth_ = smaller(p.K, larger<ptrdiff_t>(kSharedBytes / (shared * ptrdiff_t(sizeof(T))) / kBlockK, 1) * kBlockK);
      shared_ = memory.array<T>(shared * depth_);
    }
    zeros_ = memory.array<T>(kPanel);
    for (ptrdiff_t k = 0; k < kPanel; ++k) zeros_[k] = 0;
    if (p.bias) {
      bias_ = memory.array<T>(across_.width());
      pack_row(bias_, p.bias, across_);
    }
    const ptrdiff_t block = smaller(p.K, kBlockK);
    scratch_ = memory.array<Scratch>(threads);
    for (int t = 0; t < threads; ++t) {
      Scratch& s = scratch_[t];
      s.c = memory.array<T*>(rows_);
      s.a = memory.array<const T*>(rows_);
      s.depth = memory.array<const T*>(kBlockK);
      s.tail_row = memory.array<T*>(kTileRows);
      s.tail = memory.array<T>(kTileRows * kPanel);
      for (int r = 0; r < kTileRows; ++r) s.tail_row[r] = s.tail + r * kPanel;
      s.left = left_packed_ && !share_left_ ? memory.array<T>(tiles(rows_) * kTileRows * block) : nullptr;
      s.right = share_right_ ? nullptr : memory.array<T>(kPanel * (block + W));
    }
  }

  void run(Crew& crew) {
    for (ptrdiff_t k = 0; k < p_.K; k += depth_) {
      const ptrdiff_t depth = smaller(depth_, p_.K - k), blocks = (depth + kBlockK - 1) / kBlockK;
      if (share_left_) {
        const ptrdiff_t some = 16, parts = (tiles_ + some - 1) / some;
        crew.each(blocks * parts, [&](ptrdiff_t piece, int thread) {
          const ptrdiff_t block = piece / parts * kBlockK, first = piece % parts * some;
          pack_left_block(left_block(block, first, depth), scratch_[thread], 0, k + block, smaller(kBlockK, depth - block), first, smaller(tiles_, first + some));
        });
      } else if (share_right_) {
        const ptrdiff_t panels = across_.panels();
        crew.each(blocks * panels, [&](ptrdiff_t piece, int) {
          const ptrdiff_t block = piece / panels * kBlockK, q = piece % panels, n = smaller(kBlockK, depth - block);
          pack_right(right_block(block, q, n), 0, k + block, n, q);
        });
      }
      crew.each(p_.batch * row_regions_ * panel_regions_, [&](ptrdiff_t piece, int thread) {
        const ptrdiff_t item = piece / (row_regions_ * panel_regions_), at = piece % (row_regions_ * panel_regions_);
        const ptrdiff_t row = at / panel_regions_ * rows_, panel = at % panel_regions_ * panels_;
        compute({item, row, smaller(rows_, p_.M - row), panel, smaller(panels_, across_.panels() - panel)}, k, depth, scratch_[thread]);
      });
    }
  }

 private:
  static ptrdiff_t tiles(ptrdiff_t rows) { return (rows + kTileRows - 1) / kTileRows; }

  // The address of a block of the shared operand: blocks are contiguous, and in each block its tiles or panels.
  T* left_block(ptrdiff_t block, ptrdiff_t tile, ptrdiff_t depth) const {
    return shared_ + (block * tiles_ + tile * smaller(kBlockK, depth - block)) * kTileRows;
  }
  T* right_block(ptrdiff_t block, ptrdiff_t q, ptrdiff_t n) const { return shared_ + block * across_.width() + panel_at<T>(q, n); }

  const T* a(ptrdiff_t item) const { return p_.a + item * p_.a_batch; }
  const T* b(ptrdiff_t item) const { return p_.b + item * p_.b_batch; }

  // Tiles first .. last of the transposed A, n rows from k on.
  void pack_left_block(T* out, Scratch& s, ptrdiff_t item, ptrdiff_t k, ptrdiff_t n, ptrdiff_t first, ptrdiff_t last) const {
    for (ptrdiff_t d = 0; d < n; ++d) s.depth[d] = a(item) + (k + d) * p_.a_step;
    pack_left(out, s.depth, n, first, last, p_.M);
  }

  // Panel q of B, n rows from k on.
  void pack_right(T* out, ptrdiff_t item, ptrdiff_t k, ptrdiff_t n, ptrdiff_t q) const {
    const ptrdiff_t column = q * kPanel, present = smaller(kPanel, p_.N - column), width = across_.in_panel(q) * W;
    const T* from = b(item) + k * p_.b_row + column * p_.b_column;
    if (p_.b_column == 1) return pack_panel(out, from, n, p_.b_row, Columns<T>{0, 1, present}, 0);
    for (ptrdiff_t d = 0; d < n; d += W) {
      const ptrdiff_t lanes = smaller(W, n - d);
      for (ptrdiff_t v = 0; v < width; v += W) {
        Vec<T> square[W];
#pragma GCC unroll 16
        for (ptrdiff_t l = 0; l < W; ++l) square[l] = v + l < present ? load_n(from + (v + l) * p_.b_column + d, lanes) : Vec<T>{};
        transpose<T>(square);
        for (ptrdiff_t l = 0; l < lanes; ++l) store(out + (d + l) * width + v, square[l]);
      }
    }
  }

  void compute(const Region& r, ptrdiff_t first, ptrdiff_t depth, Scratch& s) const {
    for (ptrdiff_t m = 0; m < r.rows; ++m) {
      s.c[m] = p_.c + r.item * p_.c_batch + (r.row + m) * p_.c_row;
      if (!left_packed_) s.a[m] = a(r.item) + (r.row + m) * p_.a_row;
    }
    for (ptrdiff_t block = 0; block < depth; block += kBlockK) {
      const ptrdiff_t k = first + block, n = smaller(kBlockK, depth - block);
      const T* left = s.left;
      if (share_left_) left = left_block(block, r.row / kTileRows, depth);
      else if (left_packed_) pack_left_block(s.left, s, r.item, k, n, r.row / kTileRows, tiles(r.row + r.rows));
      for (ptrdiff_t q = r.panel; q < r.panel + r.panels; ++q) {
        const T* right = s.right;
        ptrdiff_t step = across_.in_panel(q) * W;
        if (share_right_) right = right_block(block, q, n);
        else if (direct_ && q * kPanel + step <= p_.N) right = b(r.item) + k * p_.b_row + q * kPanel, step = p_.b_row;
        else pack_right(s.right, r.item, k, n, q);
        const bool adds = k > 0 || p_.accumulate;
        if (left_packed_) add_packed(r, s, left, right, step, n, q, adds);
        else add_rows(r, s, k, right, step, n, q, adds);
      }
    }
  }

  const T* start(ptrdiff_t q) const { return bias_ ? bias_ + q * kPanel : zeros_; }

  // For one panel of C: C = start + A B, or with `adds` C += A B, over n columns of A from column k on.
  void add_rows(const Region& r, Scratch& s, ptrdiff_t k, const T* right, ptrdiff_t step, ptrdiff_t n, ptrdiff_t q, bool adds) const {
    const ptrdiff_t column = q * kPanel, vectors = across_.in_panel(q), lanes = p_.N - column;
    const ptrdiff_t tiles = Matmul::tiles(r.rows), low = r.rows / tiles, more = r.rows % tiles;
    const bool whole = vectors * W <= lanes;
    for (ptrdiff_t t = 0, m = 0; t < tiles; ++t) {
      const ptrdiff_t height = low + (t < more);
      const auto tile = Tiles<T>::plain(height, vectors);
      if (whole) {
        if (t + 1 < tiles) prefetch_rows(s.c + m + height, column, low + (t + 1 < more));
        tile(s.c + m, column, adds ? nullptr : start(q), s.a + m, k, PTRDIFF_MAX, 0, right, step, n);
      } else {
        for (ptrdiff_t i = 0; adds && i < height; ++i) copy(s.tail_row[i], s.c[m + i] + column, lanes);
        tile(s.tail_row, 0, adds ? nullptr : start(q), s.a + m, k, PTRDIFF_MAX, 0, right, step, n);
        for (ptrdiff_t i = 0; i < height; ++i) copy(s.c[m + i] + column, s.tail_row[i], lanes);
      }
      m += height;
    }
  }
  static void copy(T* to, const T* from, ptrdiff_t n) {
    for (ptrdiff_t k = 0; k < n; k += W) store_n(to + k, load_n(from + k, smaller(W, n - k)), smaller(W, n - k));
  }

  // The same with the transposed A, packed.
  void add_packed(const Region& r, Scratch& s, const T* left, const T* right, ptrdiff_t step, ptrdiff_t n, ptrdiff_t q, bool adds) const {
    const ptrdiff_t column = q * kPanel, vectors = across_.in_panel(q);
    for (ptrdiff_t m = 0; m < r.rows; m += kTileRows, left += n * kTileRows) {
      const ptrdiff_t height = smaller<ptrdiff_t>(kTileRows, r.rows - m);
      prefetch_rows(s.c + m, column, height);
      Tiles<T>::packed(height, vectors)(s.tail, left, right, step, n);
      for (ptrdiff_t i = 0; i < height; ++i) {
        for (ptrdiff_t v = 0; v < vectors; ++v) {
          T* at = s.c[m + i] + column + v * W;
          const ptrdiff_t lanes = smaller(W, p_.N - column - v * W);
          const Vec<T> sum = load(s.tail_row[i] + v * W);
          store_n(at, (adds ? load_n(at, lanes) : load(start(q) + v * W)) + sum, lanes);
        }
      }
    }
  }

  const Product<T>& p_;
  Columns<T> across_;
  bool left_packed_, direct_, by_columns_ = false, share_left_ = false, share_right_ = false;
  ptrdiff_t tiles_, rows_ = 0, panels_ = 0, row_regions_, panel_regions_, depth_;
  T *shared_ = nullptr, *zeros_, *bias_ = nullptr;
  Scratch* scratch_;
};

}  // namespace tgr::TGR_ISA
