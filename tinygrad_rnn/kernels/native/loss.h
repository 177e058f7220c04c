// Softmax cross-entropy in two passes over each row, which stays in the cache between them; and the gradient of an embedding table.
#pragma once

#include "update.h"

namespace tgr::TGR_ISA {

// Calls each(index, lanes) for the vectors of n elements, in order; only the last may have fewer than all lanes.
template <class T, class Each> TGR_INLINE void vectors_of(ptrdiff_t n, const Each& each) {
  constexpr ptrdiff_t W = kWidth<T>;
  ptrdiff_t i = 0;
  for (; i + W <= n; i += W) each(i, W);
  if (i < n) each(i, n - i);
}

template <class T> TGR_INLINE T sum_of(Vec<T> v) {
  T sum = 0;
  for (ptrdiff_t l = 0; l < kWidth<T>; ++l) sum += v[l];
  return sum;
}

// Ignores NaN: the sum of exponentials propagates it.
template <class T> T largest_of(const T* row, ptrdiff_t n) {
  constexpr ptrdiff_t W = kWidth<T>;
  T most = row[0];
  ptrdiff_t i = 0;
  if (n >= 4 * W) {
    Vec<T> a = load(row), b = load(row + W), c = load(row + 2 * W), d = load(row + 3 * W);
    for (i = 4 * W; i + 4 * W <= n; i += 4 * W) {
      const Vec<T> e = load(row + i), f = load(row + i + W), g = load(row + i + 2 * W), h = load(row + i + 3 * W);
      a = e > a ? e : a, b = f > b ? f : b, c = g > c ? g : c, d = h > d ? h : d;
    }
    a = b > a ? b : a, c = d > c ? d : c, a = c > a ? c : a;
    for (ptrdiff_t l = 0; l < W; ++l) most = a[l] > most ? a[l] : most;
  }
  for (; i < n; ++i) most = row[i] > most ? row[i] : most;
  return most;
}

template <class T> T sum_of_exponentials(const T* row, ptrdiff_t n, T most) {
  constexpr ptrdiff_t W = kWidth<T>;
  const Vec<T> shift = splat<T>(most);
  Vec<T> a{}, b{}, c{}, d{};
  ptrdiff_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    a += exp<T>(load(row + i) - shift), b += exp<T>(load(row + i + W) - shift);
    c += exp<T>(load(row + i + 2 * W) - shift), d += exp<T>(load(row + i + 3 * W) - shift);
  }
  for (; i < n; i += W) {
    const ptrdiff_t lanes = smaller(W, n - i);
    a += keep_n<T>(exp<T>(load_n(row + i, lanes) - shift), lanes);
  }
  return sum_of<T>((a + b) + (c + d));
}

template <class T> TGR_INLINE T first_lane(Vec<T> v) { return v[0]; }

constexpr ptrdiff_t kSomeValues = 8192;  // values in one piece of work
TGR_INLINE ptrdiff_t rows_together(ptrdiff_t width) { return larger<ptrdiff_t>(1, kSomeValues / larger<ptrdiff_t>(1, width)); }

template <class T> void cross_entropy(const CrossEntropy<T>& p, int threads) {
  const ptrdiff_t some = rows_together(p.classes);
  share_out((p.rows + some - 1) / some, threads, [&](ptrdiff_t k) {
    for (ptrdiff_t r = k * some, end = smaller(p.rows, r + some); r < end; ++r) {
      p.losses[r] = p.largest[r] = p.total[r] = 0;
      if (p.mask && !p.mask[r]) continue;
      const T* row = p.logits + r * p.classes;
      const T most = largest_of(row, p.classes), total = sum_of_exponentials(row, p.classes, most);
      p.largest[r] = most;
      p.total[r] = total;
      p.losses[r] = first_lane<T>(log<T>(splat<T>(total))) - (row[p.targets[r]] - most);
    }
  });
}

template <class T> void cross_entropy_back(const CrossEntropy<T>& p, int threads) {
  const ptrdiff_t some = rows_together(p.classes);
  share_out((p.rows + some - 1) / some, threads, [&](ptrdiff_t k) {
    for (ptrdiff_t r = k * some, end = smaller(p.rows, r + some); r < end; ++r) {
      const T* row = p.logits + r * p.classes;
      T* slope = p.slope + r * p.classes;
      if (p.mask && !p.mask[r]) {
        vectors_of<T>(p.classes, [&](ptrdiff_t i, ptrdiff_t lanes) { store_n(slope + i, Vec<T>{}, lanes); });
        continue;
      }
      const T factor = p.g[r * p.g_step] * p.weight;
      const Vec<T> shift = splat<T>(p.largest[r]), times = splat<T>(factor / p.total[r]);
      constexpr ptrdiff_t W = kWidth<T>;
      ptrdiff_t i = 0;
      for (; i + W <= p.classes; i += W) store(slope + i, exp<T>(load(row + i) - shift) * times);
      if (i < p.classes) store_n(slope + i, exp<T>(load_n(row + i, p.classes - i) - shift) * times, p.classes - i);
      const ptrdiff_t target = p.targets[r];
      const T probability = first_lane<T>(exp<T>(splat<T>(row[target]) - shift)) / p.total[r];
      slope[target] = (probability - T(1)) * factor;
    }
  });
}

// Each thread adds all rows, in order, to its own range of columns, so every sum has one order for any number of threads.
template <class T> void scatter(const Scatter<T>& p, int threads) {
  const ptrdiff_t line = 64 / ptrdiff_t(sizeof(T)), parts = larger<ptrdiff_t>(1, smaller<ptrdiff_t>(threads, p.width / line));
  const ptrdiff_t some = (p.width + parts * line - 1) / (parts * line) * line;
  constexpr ptrdiff_t kClear = 4096;
  const ptrdiff_t all = p.rows * p.width;
  share_out((all + kClear - 1) / kClear, threads, [&](ptrdiff_t k) {
    __builtin_memset(p.table + k * kClear, 0, size_t(smaller(kClear, all - k * kClear)) * sizeof(T));
  });
  share_out(parts, threads, [&](ptrdiff_t k) {
    const ptrdiff_t from = k * some, width = smaller(some, p.width - from);
    for (ptrdiff_t i = 0; i < p.count && width > 0; ++i) {
      T* row = p.table + p.index[i] * p.width + from;
      const T* value = p.values + i * p.width + from;
      vectors_of<T>(width, [&](ptrdiff_t c, ptrdiff_t lanes) __attribute__((always_inline)) {
        if (lanes == kWidth<T>) store(row + c, load(row + c) + load(value + c));
        else store_n(row + c, load_n(row + c, lanes) + load_n(value + c, lanes), lanes);
      });
    }
  });
}

}  // namespace tgr::TGR_ISA
