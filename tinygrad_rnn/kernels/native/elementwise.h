// Elementwise instructions: the formula of each for one vector, and the loops over the elements of a row.
#pragma once

#include "math.h"
#include "program.h"

namespace tgr::TGR_ISA {

// The addresses of rows: pointers, or evenly spaced memory.
template <class T> struct View {
  T* base;
  ptrdiff_t stride;
  T* const* rows;  // null: row r is at base + r * stride
  T* at(ptrdiff_t r) const { return rows ? rows[r] : base + r * stride; }
};

// Functions of the C library, lane by lane: the results are the same for every instruction set.
template <class T, class F> TGR_INLINE Vec<T> each_lane(Vec<T> a, const F& f) {
  alignas(kBytes) T x[kWidth<T>];
  store(x, a);
  for (ptrdiff_t l = 0; l < kWidth<T>; ++l) x[l] = f(x[l]);
  return load(x);
}
template <class T, class F> TGR_INLINE Vec<T> each_lane(Vec<T> a, Vec<T> b, const F& f) {
  alignas(kBytes) T x[kWidth<T>], y[kWidth<T>];
  store(x, a), store(y, b);
  for (ptrdiff_t l = 0; l < kWidth<T>; ++l) x[l] = f(x[l], y[l]);
  return load(x);
}

// NumPy's remainder, which has the sign of the divisor.
template <class T> TGR_INLINE T remainder(T a, T b) {
  const T r = T(sizeof(T) == 4 ? __builtin_fmodf(float(a), float(b)) : __builtin_fmod(double(a), double(b)));
  if (b == 0) return r;
  if (r == 0) return b < 0 ? -T(0) : T(0);
  return (b < 0) != (r < 0) ? r + b : r;
}
template <class T> TGR_INLINE T floor_divide(T a, T b) {
  if (b == 0) return a / b;
  const T r = T(sizeof(T) == 4 ? __builtin_fmodf(float(a), float(b)) : __builtin_fmod(double(a), double(b)));
  T q = (a - r) / b;
  if (r != 0 && (b < 0) != (r < 0)) q -= 1;
  if (q == 0) return (a / b) < 0 || (1 / (a / b)) < 0 ? -T(0) : T(0);
  const T below = T(__builtin_floor(double(q)));
  return q - below > T(0.5) ? below + 1 : below;
}
// log(e^a + e^b); below, log2(2^a + 2^b).
template <class T> TGR_INLINE T logaddexp(T a, T b) {
  if (a == b) return a + T(0.693147180559945309417232121458);
  const double low = double(a < b ? a : b), high = double(a < b ? b : a);
  return T(a != a || b != b ? a + b : high + __builtin_log1p(__builtin_exp(low - high)));
}
template <class T> TGR_INLINE T logaddexp2(T a, T b) {
  if (a == b) return a + 1;
  const double low = double(a < b ? a : b), high = double(a < b ? b : a);
  return T(a != a || b != b ? a + b : high + __builtin_log1p(__builtin_exp2(low - high)) * 1.44269504088896340735992468100);
}

#define TGR_LANES(name) each_lane<T>(x, [](T v) { return sizeof(T) == 4 ? T(__builtin_##name##f(float(v))) : T(__builtin_##name(double(v))); })
#define TGR_LANES2(name)                                                                                                     \
  each_lane<T>(x, y, [](T v, T w) {                                                                                          \
    return sizeof(T) == 4 ? T(__builtin_##name##f(float(v), float(w))) : T(__builtin_##name(double(v), double(w)));           \
  })

template <Code C, class T> TGR_INLINE Vec<T> unary(Vec<T> x) {
  const Vec<T> zero{}, one = splat<T>(T(1)), inf = splat<T>(T(__builtin_inf()));
  const IntVec<T> sign = (IntVec<T>)splat<T>(T(-0.0));
  const Vec<T> magnitude = (Vec<T>)((IntVec<T>)x & ~sign);
  if constexpr (C == Code::copy) return x;
  if constexpr (C == Code::neg) return (Vec<T>)((IntVec<T>)x ^ sign);
  if constexpr (C == Code::abs) return magnitude;
  if constexpr (C == Code::sign) return x > zero ? one : x < zero ? -one : x + zero;
  if constexpr (C == Code::exp) return exp<T>(x);
  if constexpr (C == Code::exp2) return TGR_LANES(exp2);
  if constexpr (C == Code::expm1) return expm1<T>(x);
  if constexpr (C == Code::log) return log<T>(x);
  if constexpr (C == Code::log2) return TGR_LANES(log2);
  if constexpr (C == Code::log10) return TGR_LANES(log10);
  if constexpr (C == Code::log1p) return log1p<T>(x);
  if constexpr (C == Code::sqrt) return TGR_LANES(sqrt);
  if constexpr (C == Code::square) return x * x;
  if constexpr (C == Code::reciprocal) return one / x;
  if constexpr (C == Code::sin) return TGR_LANES(sin);
  if constexpr (C == Code::cos) return TGR_LANES(cos);
  if constexpr (C == Code::tan) return TGR_LANES(tan);
  if constexpr (C == Code::sinh) return TGR_LANES(sinh);
  if constexpr (C == Code::cosh) return TGR_LANES(cosh);
  if constexpr (C == Code::tanh) return tanh<T>(x);
  if constexpr (C == Code::arcsin) return TGR_LANES(asin);
  if constexpr (C == Code::arccos) return TGR_LANES(acos);
  if constexpr (C == Code::arctan) return TGR_LANES(atan);
  if constexpr (C == Code::arcsinh) return TGR_LANES(asinh);
  if constexpr (C == Code::arccosh) return TGR_LANES(acosh);
  if constexpr (C == Code::arctanh) return TGR_LANES(atanh);
  if constexpr (C == Code::sigmoid) return sigmoid<T>(x);
  if constexpr (C == Code::softplus) return softplus<T>(x);
  if constexpr (C == Code::relu) return x <= zero ? zero : x;
  if constexpr (C == Code::gelu) return gelu<T>(x);
  if constexpr (C == Code::erf) return TGR_LANES(erf);
  if constexpr (C == Code::floor) return TGR_LANES(floor);
  if constexpr (C == Code::ceil) return TGR_LANES(ceil);
  if constexpr (C == Code::trunc) return TGR_LANES(trunc);
  if constexpr (C == Code::rint) return TGR_LANES(rint);
  if constexpr (C == Code::isnan) return x != x ? one : zero;
  if constexpr (C == Code::isinf) return magnitude == inf ? one : zero;
  if constexpr (C == Code::isfinite) return magnitude < inf ? one : zero;
  if constexpr (C == Code::logical_not) return x == zero ? one : zero;
}

template <class T> TGR_INLINE Vec<T> add(Vec<T> x, Vec<T> y) { return x + y; }
template <class T> TGR_INLINE Vec<T> sub(Vec<T> x, Vec<T> y) { return x - y; }
template <class T> TGR_INLINE Vec<T> rsub(Vec<T> x, Vec<T> y) { return y - x; }
template <class T> TGR_INLINE Vec<T> mul(Vec<T> x, Vec<T> y) { return x * y; }

template <Code C, class T> TGR_INLINE Vec<T> binary(Vec<T> x, Vec<T> y) {
  const Vec<T> zero{}, one = splat<T>(T(1));
  const auto truth = [&](IntVec<T> holds) __attribute__((always_inline)) { return (Vec<T>)(holds & (IntVec<T>)one); };
  if constexpr (C == Code::add) return x + y;
  if constexpr (C == Code::sub) return x - y;
  if constexpr (C == Code::mul) return x * y;
  if constexpr (C == Code::div) return x / y;
  if constexpr (C == Code::pow) return TGR_LANES2(pow);
  if constexpr (C == Code::remainder) return each_lane<T>(x, y, [](T a, T b) { return remainder<T>(a, b); });
  if constexpr (C == Code::floor_divide) return each_lane<T>(x, y, [](T a, T b) { return floor_divide<T>(a, b); });
  if constexpr (C == Code::maximum) return ((x >= y) | (x != x)) ? x : y;
  if constexpr (C == Code::minimum) return ((x <= y) | (x != x)) ? x : y;
  if constexpr (C == Code::fmax) return ((x >= y) | (y != y)) ? x : y;
  if constexpr (C == Code::fmin) return ((x <= y) | (y != y)) ? x : y;
  if constexpr (C == Code::arctan2) return TGR_LANES2(atan2);
  if constexpr (C == Code::hypot) return TGR_LANES2(hypot);
  if constexpr (C == Code::logaddexp) return each_lane<T>(x, y, [](T a, T b) { return logaddexp<T>(a, b); });
  if constexpr (C == Code::logaddexp2) return each_lane<T>(x, y, [](T a, T b) { return logaddexp2<T>(a, b); });
  if constexpr (C == Code::copysign) return with_sign_of<T>(x, y);
  if constexpr (C == Code::gt) return truth(x > y);
  if constexpr (C == Code::ge) return truth(x >= y);
  if constexpr (C == Code::lt) return truth(x < y);
  if constexpr (C == Code::le) return truth(x <= y);
  if constexpr (C == Code::eq) return truth(x == y);
  if constexpr (C == Code::ne) return truth(x != y);
  if constexpr (C == Code::logical_and) return truth((x != zero) & (y != zero));
  if constexpr (C == Code::logical_or) return truth((x != zero) | (y != zero));
  if constexpr (C == Code::logical_xor) return truth((x != zero) ^ (y != zero));
}
#undef TGR_LANES
#undef TGR_LANES2

template <Code C, class T> TGR_INLINE Vec<T> ternary(Vec<T> x, Vec<T> y, Vec<T> z) {
  if constexpr (C == Code::where) return x != Vec<T>{} ? y : z;
#define TGR_PAIR(first, second) \
  if constexpr (C == Code::first##_##second) return second<T>(binary<Code::first, T>(x, y), z);
  TGR_PAIRS(TGR_PAIR)
#undef TGR_PAIR
}

// n contiguous elements. Bit k of `scalars`: input k is one vector, used for all elements.
template <class T, Code C> void run(ptrdiff_t n, T* out, const T* a, const T* b, const T* c, int scalars) {
  constexpr ptrdiff_t W = kWidth<T>;
  const ptrdiff_t mask_a = (scalars & 1) - 1, mask_b = (scalars >> 1 & 1) - 1, mask_c = (scalars >> 2 & 1) - 1;
  const auto value = [&](ptrdiff_t i, const auto& read) __attribute__((always_inline)) {
    const Vec<T> x = read(a + (i & mask_a));
    if constexpr (is_unary(C)) return unary<C, T>(x);
    else if constexpr (is_binary(C)) return binary<C, T>(x, read(b + (i & mask_b)));
    else return ternary<C, T>(x, read(b + (i & mask_b)), read(c + (i & mask_c)));
  };
  ptrdiff_t i = 0;
  for (; i + W <= n; i += W) store(out + i, value(i, [](const T* p) __attribute__((always_inline)) { return load(p); }));
  if (i < n) store_n(out + i, value(i, [&](const T* p) __attribute__((always_inline)) { return load_n(p, n - i); }), n - i);
}

template <class T> using Run = void (*)(ptrdiff_t, T*, const T*, const T*, const T*, int);
template <class T> Run<T> run_of(Code code) {
#define TGR_RUN(name) run<T, Code::name>,
#define TGR_RUN_PAIR(first, second) run<T, Code::first##_##second>,
  static constexpr Run<T> table[] = {TGR_FIRST_CODES(TGR_RUN) TGR_PAIRS(TGR_RUN_PAIR)};
#undef TGR_RUN_PAIR
#undef TGR_RUN
  return table[static_cast<int>(code)];
}

// Calls each(offsets) for every index over the dimensions: offsets[k] is operand k's element, relative to its first.
template <int N, class Each>
TGR_INLINE void for_each_index(const ptrdiff_t* shape, int dims, const ptrdiff_t* const (&strides)[N], const Each& each) {
  ptrdiff_t index[kMostDims] = {}, at[N] = {};
  for (int d = dims; d >= 0;) {
    if (d == dims) each(at), --d;
    if (d < 0) return;
    for (int k = 0; k < N; ++k) at[k] += strides[k][d];
    if (++index[d] < shape[d]) {
      d = dims;
      continue;
    }
    for (int k = 0; k < N; ++k) at[k] -= shape[d] * strides[k][d];
    index[d--] = 0;
  }
}

constexpr ptrdiff_t kStrip = 256;  // elements that a strided instruction gathers at a time

// One row with any strides: elements that are not contiguous are gathered into and scattered from small buffers (4 of kStrip elements).
// `row` points to the first elements of the output and the inputs.
template <class T> void run_strided(const Instruction& i, Run<T> run, T* const (&row)[4], T* buffers) {
  const int last = i.dims - 1;
  const ptrdiff_t n = i.shape[last];
  const Operand* const operand[] = {&i.out, &i.in[0], &i.in[1], &i.in[2]};
  const ptrdiff_t* const strides[] = {i.out.stride, i.in[0].stride, i.in[1].stride, i.in[2].stride};
  int scalars = 0;
  for (int k = 0; k < 3; ++k) scalars |= int(i.in[k].scalar) << k;
  for_each_index<4>(i.shape, last, strides, [&](const ptrdiff_t* at) {
    for (ptrdiff_t first = 0; first < n; first += kStrip) {
      const ptrdiff_t some = smaller(kStrip, n - first);
      T* strip[4];
      for (int k = 0; k < 4; ++k) {
        const ptrdiff_t step = strides[k][last];
        T *buffer = buffers + k * kStrip, *start = row[k] + at[k] + first * step;
        strip[k] = step == 1 ? start : buffer;
        if (operand[k]->scalar) store(strip[k] = buffer, splat<T>(*start));
        else if (k > 0 && step != 1) for (ptrdiff_t e = 0; e < some; ++e) buffer[e] = start[e * step];
      }
      run(some, strip[0], strip[1], strip[2], strip[3], scalars);
      const ptrdiff_t step = strides[0][last];
      for (ptrdiff_t e = 0; step != 1 && e < some; ++e) row[0][at[0] + (first + e) * step] = buffers[e];
    }
  });
}

}  // namespace tgr::TGR_ISA
