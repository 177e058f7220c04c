// tanh and sigmoid to within 4 ulp, for every input.
//
// Both rest on exp(x) for x <= 0, taken apart as x = n ln 2 + r with |r| <= ln 2 / 2, and on p = exp(r) - 1 by its Taylor series:
//   exp(x)     = 2^n (1 + p)               sigmoid(z) = 1 / (1 + e) or e / (1 + e), e = exp(-|z|): small values keep their digits
//   exp(x) - 1 = 2^n p + (2^n - 1)         tanh(z) = -m / (2 + m), m = exp(-2|z|) - 1: no cancellation near 0
// NaN passes through every line by itself: it fails the one comparison, which then keeps it.
#pragma once

#include "simd.h"

namespace tgr::TGR_ISA {

template <class T> struct ExpConstants;
template <> struct ExpConstants<float> {
  static constexpr float kLog2e = 1.44269504088896341f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  static constexpr float kLowest = -104.0f;     // exp is 0 below
  static constexpr int kMantissa = 23, kBias = 127, kTerms = 6;
};
template <> struct ExpConstants<double> {
  static constexpr double kLog2e = 1.44269504088896340736, kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kLowest = -746.0;
  static constexpr int kMantissa = 52, kBias = 1023, kTerms = 12;
};
constexpr double kInverseFactorial[] = {
    1.0,           1.0 / 2,        1.0 / 6,         1.0 / 24,         1.0 / 120,         1.0 / 720,        1.0 / 5040,
    1.0 / 40320,   1.0 / 362880,   1.0 / 3628800,   1.0 / 39916800,   1.0 / 479001600,   1.0 / 6227020800,
};

template <class T> struct Reduced {
  Vec<T> n, p;  // x = n ln 2 + r, p = exp(r) - 1; n holds a whole number
};

template <class T> TGR_INLINE Reduced<T> reduce(Vec<T> x) {
  using C = ExpConstants<T>;
  x = x < splat<T>(C::kLowest) ? splat<T>(C::kLowest) : x;
  const Vec<T> n = fma(x, splat<T>(C::kLog2e), splat<T>(C::kRound)) - C::kRound;
  const Vec<T> r = fma(n, splat<T>(-C::kLn2Low), fma(n, splat<T>(-C::kLn2High), x));
  Vec<T> q = splat<T>(T(kInverseFactorial[C::kTerms]));
#pragma GCC unroll 16
  for (int k = C::kTerms - 1; k >= 1; --k) q = fma(q, r, splat<T>(T(kInverseFactorial[k])));
  return {n, fma(q, r * r, r)};
}

// 2^n for a whole n in the normal range.
template <class T> TGR_INLINE Vec<T> power_of_two(Vec<T> n) {
  using C = ExpConstants<T>;
  const IntVec<T> bits = (IntVec<T>)(n + (C::kRound + C::kBias));  // the sum's low bits hold n + bias
  return (Vec<T>)(bits << C::kMantissa);
}

// v 2^n, into the denormals and to 0.
#if TGR_AVX512
TGR_INLINE Vec<float> scale(Vec<float> v, Vec<float> n) { return (Vec<float>)_mm512_maskz_scalef_ps(__mmask16(-1), (__m512)v, (__m512)n); }
TGR_INLINE Vec<double> scale(Vec<double> v, Vec<double> n) { return (Vec<double>)_mm512_maskz_scalef_pd(__mmask8(-1), (__m512d)v, (__m512d)n); }
#else
template <class V> TGR_INLINE V scale_by_halves(V v, V n) {  // 2^n alone may be below the normal range; its half is not
  using T = decltype(v[0] + v[0]);
  const V half = (n * T(0.5) + ExpConstants<T>::kRound) - ExpConstants<T>::kRound;
  return v * power_of_two<T>(half) * power_of_two<T>(n - half);
}
TGR_INLINE Vec<float> scale(Vec<float> v, Vec<float> n) { return scale_by_halves(v, n); }
TGR_INLINE Vec<double> scale(Vec<double> v, Vec<double> n) { return scale_by_halves(v, n); }
#endif

// a / b for b in [1, 2]: where there is a fast first guess at 1 / b, Newton's steps from it take less time than a division.
#if TGR_AVX512
TGR_INLINE Vec<float> quotient(Vec<float> a, Vec<float> b) {
  const Vec<float> guess = (Vec<float>)_mm512_maskz_rcp14_ps(__mmask16(-1), (__m512)b);
  return a * fma(guess, fma(-b, guess, splat(1.0f)), guess);
}
TGR_INLINE Vec<double> quotient(Vec<double> a, Vec<double> b) {
  const Vec<double> guess = (Vec<double>)_mm512_maskz_rcp14_pd(__mmask8(-1), (__m512d)b);
  const Vec<double> better = fma(guess, fma(-b, guess, splat(1.0)), guess);
  return a * fma(better, fma(-b, better, splat(1.0)), better);
}
#else
template <class V> TGR_INLINE V quotient(V a, V b) { return a / b; }
#endif

template <class T> TGR_INLINE Vec<T> sigmoid(Vec<T> z) {
  const Vec<T> minus_abs = (Vec<T>)((IntVec<T>)z | (IntVec<T>)splat<T>(T(-0.0)));
  const Reduced<T> e = reduce<T>(minus_abs);
  const Vec<T> exp = scale(e.p + T(1), e.n);
  return quotient(z < Vec<T>{} ? exp : splat<T>(T(1)), exp + T(1));
}

template <class T> TGR_INLINE Vec<T> tanh(Vec<T> z) {
  const Vec<T> minus_abs = (Vec<T>)((IntVec<T>)z | (IntVec<T>)splat<T>(T(-0.0)));
  const Reduced<T> e = reduce<T>(minus_abs + minus_abs);
  const Vec<T> s = scale(splat<T>(T(1)), e.n);
  const Vec<T> m = fma(s, e.p, s - T(1));
  const IntVec<T> sign = (IntVec<T>)splat<T>(T(-0.0)), ratio = (IntVec<T>)quotient(m, m + T(2));
  return (Vec<T>)((ratio & ~sign) | ((IntVec<T>)z & sign));
}

}  // namespace tgr::TGR_ISA
