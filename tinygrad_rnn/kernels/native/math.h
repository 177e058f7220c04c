// exp, log and functions computed from them, to within 4 ulp, for every input.
//
// sigmoid, tanh, exp and expm1 use exp(x) for x <= 0, with x = n ln 2 + r, |r| <= ln 2 / 2, and p = exp(r) - 1 = r + r^2 q(r), q a minimax polynomial:
//   exp(x)     = 2^n (1 + p)               sigmoid(z) = 1 / (1 + e) or e / (1 + e), e = exp(-|z|): small results are accurate
//   exp(x) - 1 = 2^n p + (2^n - 1)         tanh(z) = -m / (2 + m), m = exp(-2|z|) - 1: no cancellation near 0
// NaN propagates: the only comparison is false for NaN, and then keeps its operand.
#pragma once

#include "simd.h"

namespace tgr::TGR_ISA {

template <class T> struct ExpConstants;
template <> struct ExpConstants<float> {
  static constexpr float kLog2e = 1.44269504088896341f, kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  static constexpr float kLowest = -104.0f, kHighest = 89.0f;  // exp is 0 below, infinite above
  static constexpr int kMantissa = 23, kBias = 127;
  static constexpr float kQ[] = {0.500000006194f, 0.166665429921f, 0.0416662820139f, 0.00836658394889f, 0.00139464510245f};  // p to 1.3e-8
};
template <> struct ExpConstants<double> {
  static constexpr double kLog2e = 1.44269504088896340736, kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
  static constexpr double kRound = 6755399441055744.0;
  static constexpr double kLowest = -746.0, kHighest = 710.0;
  static constexpr int kMantissa = 52, kBias = 1023;
  static constexpr double kQ[] = {0.50000000000000055502,    0.16666666666666685985,    0.041666666666573621857,  0.0083333333333146020449,
                                  0.0013888888932379735461,  0.00019841269903006411436, 2.4801504444890004931e-5, 2.7557227976259393513e-6,
                                  2.7626326928072169313e-7,  2.5114465893066125219e-8};  // p to 1.8e-17
};

template <class T> struct Reduced {
  Vec<T> n, p;  // x = n ln 2 + r, p = exp(r) - 1; n is an integer
};

template <class T> TGR_INLINE Reduced<T> reduce(Vec<T> x, T lowest = ExpConstants<T>::kLowest) {
  using C = ExpConstants<T>;
  x = x < splat<T>(lowest) ? splat<T>(lowest) : x;
  const Vec<T> n = fma(x, splat<T>(C::kLog2e), splat<T>(C::kRound)) - C::kRound;
  const Vec<T> r = fma(n, splat<T>(-C::kLn2Low), fma(n, splat<T>(-C::kLn2High), x));
  constexpr int terms = sizeof(C::kQ) / sizeof(T);
  Vec<T> q = splat<T>(C::kQ[terms - 1]);
#pragma GCC unroll 16
  for (int k = terms - 2; k >= 0; --k) q = fma(q, r, splat<T>(C::kQ[k]));
  return {n, fma(q, r * r, r)};
}

// 2^n for an integer n in the normal range.
template <class T> TGR_INLINE Vec<T> power_of_two(Vec<T> n) {
  using C = ExpConstants<T>;
  const IntVec<T> bits = (IntVec<T>)(n + (C::kRound + C::kBias));  // the sum's low bits hold n + bias
  return (Vec<T>)(bits << C::kMantissa);
}

// v 2^n, also where the result is denormal or 0.
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

// a / b for b in [1, 2]. With a hardware approximation of 1 / b, Newton's iteration is faster than a division.
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

template <class T> TGR_INLINE Vec<T> at_most(Vec<T> x, T most) { return x > splat<T>(most) ? splat<T>(most) : x; }
template <class T> TGR_INLINE Vec<T> with_sign_of(Vec<T> x, Vec<T> of) {
  const IntVec<T> sign = (IntVec<T>)splat<T>(T(-0.0));
  return (Vec<T>)(((IntVec<T>)x & ~sign) | ((IntVec<T>)of & sign));
}

template <class T> TGR_INLINE Vec<T> exp(Vec<T> x) {
  const Reduced<T> e = reduce<T>(at_most<T>(x, ExpConstants<T>::kHighest));
  return scale(e.p + T(1), e.n);
}

// Computes half the result, since 2^n may overflow where exp(x) - 1 does not.
template <class T> TGR_INLINE Vec<T> expm1(Vec<T> x) {
  const Reduced<T> e = reduce<T>(at_most<T>(x, ExpConstants<T>::kHighest));
  const Vec<T> s = scale(splat<T>(T(0.5)), e.n), half = fma(s, e.p, s - T(0.5));
  return with_sign_of<T>(half + half, x);
}

// log(x) = k ln 2 + log(1 + f) with x = 2^k (1 + f), 1 + f between the square roots of 1/2 and 2; and with s = f / (2 + f),
// log(1 + f) = 2 atanh(s) = f - s (f - R), R a polynomial in s^2 [Ng 1993: FreeBSD's e_log.c, whose coefficients these are].
template <class T> struct LogConstants;
template <> struct LogConstants<float> {
  static constexpr float kLn2High = 6.9313812256e-01f, kLn2Low = 9.0580006145e-06f, kSmallest = 1.17549435e-38f, kUp = 33554432.0f;
  static constexpr int kUpBits = 25;
  static constexpr float kTerms[] = {0.66666662693f, 0.40000972152f, 0.28498786688f, 0.24279078841f};
  static constexpr int32_t kRootHalf = 0x3f3504f3;
};
template <> struct LogConstants<double> {
  static constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10, kSmallest = 2.2250738585072014e-308;
  static constexpr double kUp = 18014398509481984.0;
  static constexpr int kUpBits = 54;
  static constexpr double kTerms[] = {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
                                      1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01};
  static constexpr int64_t kRootHalf = 0x3fe6a09e667f3bcd;
};

template <class T> struct Split {
  Vec<T> k, f;  // x = 2^k (1 + f)
};
template <class T> TGR_INLINE Split<T> split(Vec<T> x) {  // of a positive normal number; the result for others is meaningless
  const IntVec<T> root = IntVec<T>{} + LogConstants<T>::kRootHalf, bits = (IntVec<T>)x & ~(IntVec<T>)splat<T>(T(-0.0));
  const IntVec<T> k = (bits - root) >> ExpConstants<T>::kMantissa;
  const Vec<T> round = splat<T>(ExpConstants<T>::kRound);  // k is converted to floating point by adding it to the low bits
  return {(Vec<T>)(k + (IntVec<T>)round) - round, (Vec<T>)(bits - (k << ExpConstants<T>::kMantissa)) - T(1)};
}

// log of 2^k (1 + f), plus the small c.
template <class T> TGR_INLINE Vec<T> log_of(Vec<T> k, Vec<T> f, Vec<T> c) {
  using C = LogConstants<T>;
  constexpr int n = sizeof(C::kTerms) / sizeof(T);
  const Vec<T> s = f / (f + T(2)), z = s * s, half_square = f * f * T(0.5);
  Vec<T> r = splat<T>(C::kTerms[n - 1]);
#pragma GCC unroll 8
  for (int t = n - 2; t >= 0; --t) r = r * z + C::kTerms[t];
  return k * C::kLn2High - ((half_square - (s * (half_square + r * z) + (k * C::kLn2Low + c))) - f);
}

// `value` where x is positive and finite; elsewhere log's special values.
template <class T> TGR_INLINE Vec<T> log_ends(Vec<T> x, Vec<T> value) {
  const Vec<T> inf = splat<T>(T(__builtin_inf())), nan = splat<T>(T(__builtin_nan("")));
  value = x < inf ? value : x;  // log of inf and NaN is x itself
  return x > Vec<T>{} ? value : x == Vec<T>{} ? -inf : nan;
}

template <class T> TGR_INLINE Vec<T> log(Vec<T> x) {
  using C = LogConstants<T>;
  const auto small = x < splat<T>(C::kSmallest);
  const Split<T> s = split<T>(small ? x * C::kUp : x);
  return log_ends<T>(x, log_of<T>(small ? s.k - T(C::kUpBits) : s.k, s.f, Vec<T>{}));
}

// With u = 1 + x rounded, log(1 + x) = log(u) + (rounding error of u) / u.
template <class T> TGR_INLINE Vec<T> log1p(Vec<T> x) {
  const Vec<T> u = x + T(1), zero{};
  const Split<T> s = split<T>(u);
  const Vec<T> lost = s.k > zero ? splat<T>(T(1)) - (u - x) : x - (u - T(1));
  const Vec<T> value = log_of<T>(s.k, s.k == zero ? x : s.f, s.k == zero ? zero : lost / u);
  return log_ends<T>(u, with_sign_of<T>(value, x));
}

// log(1 + e^x) without overflow.
template <class T> TGR_INLINE Vec<T> softplus(Vec<T> x) {
  const Vec<T> minus_abs = (Vec<T>)((IntVec<T>)x | (IntVec<T>)splat<T>(T(-0.0)));
  return (x < Vec<T>{} ? Vec<T>{} : x) + log1p<T>(exp<T>(minus_abs));
}

// a b - p for p = a b rounded; without a fused multiply-add, by splitting the mantissas into halves.
#if TGR_AVX512 || TGR_AVX2 || TGR_NEON
template <class T> TGR_INLINE Vec<T> product_error(Vec<T> a, Vec<T> b, Vec<T> p) { return fma(a, b, -p); }
#else
template <class T> TGR_INLINE Vec<T> product_error(Vec<T> a, Vec<T> b, Vec<T> p) {
  const IntVec<T> low = IntVec<T>{} + ((typename VecOf<T>::Lane(1) << (ExpConstants<T>::kMantissa / 2 + 1)) - 1);
  const Vec<T> a1 = (Vec<T>)((IntVec<T>)a & ~low), b1 = (Vec<T>)((IntVec<T>)b & ~low), a2 = a - a1, b2 = b - b1;
  return ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2;
}
#endif

// x/2 (1 + tanh(z/2)) = x sigmoid(z) with z = x (C + D x^2), C = 2 sqrt(2 / pi), D = 0.044715 C. Where z is large and negative, an
// absolute error of z is a relative error of the result. So z is computed to twice the precision, and its low part e is applied as
// sigmoid(z + e) = sigmoid (1 + e (1 - sigmoid)).
template <class T> TGR_INLINE Vec<T> gelu(Vec<T> x) {
  constexpr double kC = 1.5957691216057308, kD = 0.07135481627260025, kCLow = -9.96930880911092e-17, kDLow = -6.175149918155315e-19;
  constexpr T c = T(kC), d = T(kD), c_low = T(kC - double(c) + kCLow), d_low = T(kD - double(d) + kDLow);
  Vec<T> a = x < splat<T>(T(-30)) ? splat<T>(T(-30)) : x;
  a = at_most<T>(a, T(30));
  const Vec<T> square = a * a, cubic = square * d;
  const Vec<T> cubic_low = product_error<T>(square, splat<T>(d), cubic) + product_error<T>(a, a, square) * d + square * d_low;
  const Vec<T> slope = cubic + c, high = slope - c;  // exact sum: c + cubic = slope + slope_low
  const Vec<T> slope_low = ((cubic - high) + (splat<T>(c) - (slope - high))) + cubic_low + c_low;
  const Vec<T> z = a * slope, z_low = product_error<T>(a, slope, z) + a * slope_low;
  const auto negative = z < Vec<T>{};
  const Reduced<T> e = reduce<T>(negative ? z : -z, ExpConstants<T>::kLowest - 16);  // below, exp times 30 is 0
  const Vec<T> exp = scale(e.p + T(1), e.n), one = splat<T>(T(1));
  const Vec<T> rest = quotient(negative ? one : exp, exp + T(1));  // 1 - sigmoid
  const Vec<T> value = quotient(negative ? a * (e.p + T(1)) : x, exp + T(1)) * fma(z_low, rest, one);
  const Vec<T> rounded_once = negative ? scale(value, e.n) : value;
  return x - x == Vec<T>{} ? rounded_once : x < Vec<T>{} ? x - x : x;  // the formula gives NaN at -inf
}

}  // namespace tgr::TGR_ISA
