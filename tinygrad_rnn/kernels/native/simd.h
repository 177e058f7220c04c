// Vectors of the size of one register, with the same source for every instruction set.
//
// GCC's and Clang's vector extension gives + - * / and comparisons; only what it cannot express (fused multiply-add, masked tails, scaling by
// 2^n) is written for each set. This file is compiled several times with different -m flags, so everything here lives in a namespace
// named after the set, and none of it may call inline functions of the standard library: the linker keeps one copy of those, which could
// be the one that older processors cannot run.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define TGR_AVX512 1
#elif defined(__AVX2__) && defined(__FMA__)
#define TGR_AVX2 1
#elif defined(__aarch64__)
#define TGR_NEON 1
#endif

#if TGR_AVX512 || TGR_AVX2
#include <immintrin.h>
#elif TGR_NEON
#include <arm_neon.h>
#endif

#ifndef TGR_ISA
#define TGR_ISA portable
#endif

#define TGR_INLINE inline __attribute__((always_inline))

namespace tgr::TGR_ISA {

#if TGR_AVX512
constexpr int kBytes = 64;
constexpr int kTileRows = 6;  // 6 x 4 accumulators, 4 columns, 1 broadcast: 29 of 32 registers
#elif TGR_AVX2
constexpr int kBytes = 32;
constexpr int kTileRows = 3;  // 3 x 4 accumulators of 16 registers
#elif TGR_NEON
constexpr int kBytes = 16;
constexpr int kTileRows = 6;
#else
constexpr int kBytes = 16;
constexpr int kTileRows = 3;
#endif
constexpr int kTileVectors = 4;

template <class T> struct VecOf;
template <> struct VecOf<float> {
  typedef float V __attribute__((vector_size(kBytes)));
  typedef int32_t Lane;
  typedef int32_t I __attribute__((vector_size(kBytes)));
  typedef float Unaligned __attribute__((vector_size(kBytes), aligned(4), may_alias));
};
template <> struct VecOf<double> {
  typedef double V __attribute__((vector_size(kBytes)));
  typedef int64_t Lane;
  typedef int64_t I __attribute__((vector_size(kBytes)));
  typedef double Unaligned __attribute__((vector_size(kBytes), aligned(8), may_alias));
};
template <class T> using Vec = typename VecOf<T>::V;
template <class T> using IntVec = typename VecOf<T>::I;
template <class T> constexpr ptrdiff_t kWidth = kBytes / sizeof(T);

template <class T> TGR_INLINE Vec<T> load(const T* p) { return *reinterpret_cast<const typename VecOf<T>::Unaligned*>(p); }
template <class T> TGR_INLINE void store(T* p, Vec<T> v) { *reinterpret_cast<typename VecOf<T>::Unaligned*>(p) = v; }
template <class T> TGR_INLINE Vec<T> splat(T x) { return x - Vec<T>{}; }  // x - 0 is x, the sign of zero included

#if TGR_AVX512
TGR_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return (Vec<float>)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
TGR_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return (Vec<double>)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#elif TGR_AVX2
TGR_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return (Vec<float>)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
TGR_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return (Vec<double>)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#elif TGR_NEON
TGR_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return (Vec<float>)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
TGR_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) {
  return (Vec<double>)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
#else  // the build disables contraction, so this always rounds twice
TGR_INLINE Vec<float> fma(Vec<float> a, Vec<float> b, Vec<float> c) { return a * b + c; }
TGR_INLINE Vec<double> fma(Vec<double> a, Vec<double> b, Vec<double> c) { return a * b + c; }
#endif

// -1 in the first lanes, 0 in the others.
template <class T> struct LaneMask {
  using Int = typename VecOf<T>::Lane;
  Int ones[kWidth<T>], zeros[kWidth<T>];
  constexpr LaneMask() : ones{}, zeros{} {
    for (Int& one : ones) one = -1;
  }
};
template <class T> TGR_INLINE IntVec<T> first_lanes(ptrdiff_t n) {
  static constexpr LaneMask<T> mask;
  return (IntVec<T>)load(reinterpret_cast<const T*>(mask.ones + (kWidth<T> - n)));
}

// load_n reads n elements and sets the other lanes to 0; store_n writes n lanes. Memory beyond them is not accessed.
#if TGR_AVX512
TGR_INLINE Vec<float> load_n(const float* p, ptrdiff_t n) { return (Vec<float>)_mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p); }
TGR_INLINE Vec<double> load_n(const double* p, ptrdiff_t n) { return (Vec<double>)_mm512_maskz_loadu_pd(__mmask8((1u << n) - 1), p); }
TGR_INLINE void store_n(float* p, Vec<float> v, ptrdiff_t n) { _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), (__m512)v); }
TGR_INLINE void store_n(double* p, Vec<double> v, ptrdiff_t n) { _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1), (__m512d)v); }
#elif TGR_AVX2
TGR_INLINE Vec<float> load_n(const float* p, ptrdiff_t n) { return (Vec<float>)_mm256_maskload_ps(p, (__m256i)first_lanes<float>(n)); }
TGR_INLINE Vec<double> load_n(const double* p, ptrdiff_t n) {
  return (Vec<double>)_mm256_maskload_pd(p, (__m256i)first_lanes<double>(n));
}
TGR_INLINE void store_n(float* p, Vec<float> v, ptrdiff_t n) { _mm256_maskstore_ps(p, (__m256i)first_lanes<float>(n), (__m256)v); }
TGR_INLINE void store_n(double* p, Vec<double> v, ptrdiff_t n) { _mm256_maskstore_pd(p, (__m256i)first_lanes<double>(n), (__m256d)v); }
#else
template <class T> TGR_INLINE Vec<T> load_n(const T* p, ptrdiff_t n) {
  if (n == kWidth<T>) return load(p);
  Vec<T> v{};
  for (ptrdiff_t l = 0; l < n; ++l) v[l] = p[l];
  return v;
}
template <class T> TGR_INLINE void store_n(T* p, Vec<T> v, ptrdiff_t n) {
  if (n == kWidth<T>) return store(p, v);
  for (ptrdiff_t l = 0; l < n; ++l) p[l] = v[l];
}
#endif

// v with the lanes from n on set to 0, even if they are NaN.
template <class T> TGR_INLINE Vec<T> keep_n(Vec<T> v, ptrdiff_t n) { return (Vec<T>)((IntVec<T>)v & first_lanes<T>(n)); }

// Transposes a square of vectors in log2(width) rounds. Each round swaps the off-diagonal quarters of squares, which are half as wide in the next.
template <int... I> struct Lanes {};
template <int N, int... I> struct FirstLanes : FirstLanes<N - 1, N - 1, I...> {};
template <int... I> struct FirstLanes<0, I...> { typedef Lanes<I...> Type; };
template <int S, class V, int... L> TGR_INLINE void swap_quarters(V& a, V& b, Lanes<L...>) {
  constexpr int n = sizeof...(L);
  const V upper = __builtin_shufflevector(a, b, (L & S ? n + L - S : L)...), lower = __builtin_shufflevector(a, b, (L & S ? n + L : L + S)...);
  a = upper, b = lower;
}
template <class T, int S = kWidth<T> / 2> TGR_INLINE void transpose(Vec<T>* rows) {
#pragma GCC unroll 16
  for (int r = 0; r < kWidth<T>; ++r) {
    if (!(r & S)) swap_quarters<S>(rows[r], rows[r + S], typename FirstLanes<kWidth<T>>::Type{});
  }
  if constexpr (S > 1) transpose<T, S / 2>(rows);
}

template <class T> constexpr TGR_INLINE T smaller(T a, T b) { return a < b ? a : b; }
template <class T> constexpr TGR_INLINE T larger(T a, T b) { return a < b ? b : a; }

}  // namespace tgr::TGR_ISA
