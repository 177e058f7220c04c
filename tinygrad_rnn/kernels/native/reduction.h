// Reductions along the last dimensions of a row, and products of matrices within a row. The order of every sum depends on the instruction
// alone.
#pragma once

#include "elementwise.h"

namespace tgr::TGR_ISA {

template <Code C, class V> TGR_INLINE V combine(V acc, V x) {
  if constexpr (C == Code::sum) return acc + x;
  if constexpr (C == Code::prod) return acc * x;
  if constexpr (C == Code::max) return ((acc >= x) | (acc != acc)) ? acc : x;
  if constexpr (C == Code::min) return ((acc <= x) | (acc != acc)) ? acc : x;
  if constexpr (C == Code::any) return x != V{} ? V{} + 1 : acc;
  if constexpr (C == Code::all) return x == V{} ? V{} : acc;
}
template <Code C, class T> constexpr T identity() {
  if (C == Code::max) return -T(__builtin_inf());
  if (C == Code::min) return T(__builtin_inf());
  return C == Code::prod || C == Code::all ? T(1) : T(0);
}

// Combines the lanes of a vector, the lower half with the upper half, repeatedly, in registers.
template <int Half, class V, int... L> TGR_INLINE V upper_half(V v, Lanes<L...>) {
  return __builtin_shufflevector(v, v, ((L + Half) % int(sizeof...(L)))...);
}
template <Code C, class T, int Half = kWidth<T> / 2> TGR_INLINE T combine_lanes(Vec<T> v) {
  v = combine<C, Vec<T>>(v, upper_half<Half>(v, typename FirstLanes<kWidth<T>>::Type{}));
  if constexpr (Half > 1) return combine_lanes<C, T, Half / 2>(v);
  else return v[0];
}

// n elements: value(i) is a vector of them, last(i) a single one. Four vectors of partial results hide the latency of an addition.
template <class T, Code C, class Value, class Last> TGR_INLINE T reduce_values(ptrdiff_t n, const Value& value, const Last& last) {
  constexpr ptrdiff_t W = kWidth<T>;
  Vec<T> acc[4];
  for (Vec<T>& a : acc) a = splat<T>(identity<C, T>());
  ptrdiff_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) acc[v] = combine<C, Vec<T>>(acc[v], value(i + v * W));
  }
  for (; i + W <= n; i += W) acc[0] = combine<C, Vec<T>>(acc[0], value(i));
  T result = combine_lanes<C, T>(combine<C, Vec<T>>(combine<C, Vec<T>>(acc[0], acc[1]), combine<C, Vec<T>>(acc[2], acc[3])));
  for (; i < n; ++i) result = combine<C, T>(result, last(i));
  return result;
}
template <class T, Code C> TGR_INLINE T reduce_run(const T* x, ptrdiff_t n) {
  return reduce_values<T, C>(n, [&](ptrdiff_t i) __attribute__((always_inline)) { return load(x + i); },
                             [&](ptrdiff_t i) __attribute__((always_inline)) { return x[i]; });
}
// The sum of a[i] b[i], with the bits of a product followed by a sum.
template <class T> void sum_products(T* out, const T* a, const T* b, ptrdiff_t n) {
  *out = reduce_values<T, Code::sum>(n, [&](ptrdiff_t i) __attribute__((always_inline)) { return load(a + i) * load(b + i); },
                                     [&](ptrdiff_t i) __attribute__((always_inline)) { return a[i] * b[i]; });
}

// Reduces one row.
template <class T, Code C> void reduce_row(const Instruction& i, T* out, const T* in) {
  const int kept = i.dims - i.reduced, inner = i.dims - 1;
  const ptrdiff_t *const outer_strides[] = {i.out.stride, i.in[0].stride}, *const inner_strides[] = {i.in[0].stride + kept};
  if (i.form == Form::kOuter) {  // the columns are contiguous
    const int column = kept - 1;
    for_each_index<2>(i.shape, column, outer_strides, [&](const ptrdiff_t* at) {
      for (ptrdiff_t n = 0; n < i.shape[column]; n += kWidth<T>) {
        const ptrdiff_t lanes = smaller(kWidth<T>, i.shape[column] - n);
        Vec<T> acc = splat<T>(identity<C, T>());
        for_each_index<1>(i.shape + kept, i.reduced, inner_strides, [&](const ptrdiff_t* k) {
          acc = combine<C, Vec<T>>(acc, load_n(in + at[1] + n + k[0], lanes));
        });
        store_n(out + at[0] + n, acc, lanes);
      }
    });
    return;
  }
  for_each_index<2>(i.shape, kept, outer_strides, [&](const ptrdiff_t* at) {
    T acc = identity<C, T>();
    for_each_index<1>(i.shape + kept, i.reduced - 1, inner_strides, [&](const ptrdiff_t* k) {
      const T* x = in + at[1] + k[0];
      if (i.form == Form::kInner) {
        acc = combine<C, T>(acc, reduce_run<T, C>(x, i.shape[inner]));
      } else {
        for (ptrdiff_t e = 0; e < i.shape[inner]; ++e) acc = combine<C, T>(acc, x[e * i.in[0].stride[inner]]);
      }
    });
    out[at[0]] = acc;
  });
}

template <class T> using Reduce = void (*)(const Instruction&, T*, const T*);
template <class T> Reduce<T> reduce_of(Code code) {
#define TGR_REDUCE(name) reduce_row<T, Code::name>,
  static constexpr Reduce<T> table[] = {TGR_REDUCTIONS(TGR_REDUCE)};
#undef TGR_REDUCE
  return table[static_cast<int>(code) - static_cast<int>(Code::sum)];
}

// The sum of a[k] b[k], both contiguous.
template <class T> TGR_INLINE T dot(const T* a, const T* b, ptrdiff_t K) {
  constexpr ptrdiff_t W = kWidth<T>;
  Vec<T> acc[4] = {};
  ptrdiff_t k = 0;
  for (; k + 4 * W <= K; k += 4 * W) {
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) acc[v] = fma(load(a + k + v * W), load(b + k + v * W), acc[v]);
  }
  for (; k + W <= K; k += W) acc[0] = fma(load(a + k), load(b + k), acc[0]);
  if (k < K) acc[1] = fma(load_n(a + k, K - k), load_n(b + k, K - k), acc[1]);
  return combine_lanes<Code::sum, T>((acc[0] + acc[1]) + (acc[2] + acc[3]));
}

// NV vectors of columns of one row of C, the last with `lanes` columns: each element is one chain over increasing k.
template <class T, int NV>
TGR_INLINE void columns_of_row(T* c, const T* a, ptrdiff_t a_step, const T* b, ptrdiff_t b_step, ptrdiff_t K, ptrdiff_t lanes) {
  constexpr ptrdiff_t W = kWidth<T>;
  Vec<T> acc[NV] = {};
  for (ptrdiff_t k = 0; k < K; ++k, a += a_step, b += b_step) {
    const Vec<T> x = splat<T>(*a);
#pragma GCC unroll 4
    for (int v = 0; v < NV - 1; ++v) acc[v] = fma(x, load(b + v * W), acc[v]);
    acc[NV - 1] = fma(x, load_n(b + (NV - 1) * W, lanes), acc[NV - 1]);
  }
  for (int v = 0; v < NV - 1; ++v) store(c + v * W, acc[v]);
  store_n(c + (NV - 1) * W, acc[NV - 1], lanes);
}

// C[b, m, n] = sum over k of A[b, m, k] B[b, k, n], for one row of the batch.
template <class T> void multiply_row(const Instruction& i, T* out, const T* a, const T* b) {
  constexpr ptrdiff_t W = kWidth<T>;
  const ptrdiff_t N = i.shape[2], K = i.shape[3], a_step = i.in[0].stride[3], b_step = i.in[1].stride[3];
  const ptrdiff_t* const strides[] = {i.out.stride, i.in[0].stride, i.in[1].stride};
  if (i.form == Form::kOuter) {
    for_each_index<3>(i.shape, 2, strides, [&](const ptrdiff_t* at) {
      for (ptrdiff_t n = 0; n < N; n += 4 * W) {
        const ptrdiff_t remaining = smaller(4 * W, N - n), vectors = (remaining + W - 1) / W, lanes = remaining - (vectors - 1) * W;
        T* to = out + at[0] + n;
        const T *row = a + at[1], *from = b + at[2] + n;
        if (vectors == 1) columns_of_row<T, 1>(to, row, a_step, from, b_step, K, lanes);
        if (vectors == 2) columns_of_row<T, 2>(to, row, a_step, from, b_step, K, lanes);
        if (vectors == 3) columns_of_row<T, 3>(to, row, a_step, from, b_step, K, lanes);
        if (vectors == 4) columns_of_row<T, 4>(to, row, a_step, from, b_step, K, lanes);
      }
    });
    return;
  }
  for_each_index<3>(i.shape, 3, strides, [&](const ptrdiff_t* at) {
    T sum = 0;
    if (i.form == Form::kInner) {
      sum = dot(a + at[1], b + at[2], K);
    } else {
      for (ptrdiff_t k = 0; k < K; ++k) sum += a[at[1] + k * a_step] * b[at[2] + k * b_step];
    }
    out[at[0]] = sum;
  });
}

}  // namespace tgr::TGR_ISA
