// Optimiser updates, and the passes over gradients before them. Every operation is rounded separately, in the order of the formulas in
// optim/, so that the results equal NumPy's.
#pragma once

#include "math.h"
#include "problem.h"
#include "training.h"

namespace tgr::TGR_ISA {

// Calls each(k) for k = 0 .. count - 1 on up to `threads` threads.
template <class Each> void share_out(ptrdiff_t count, int threads, const Each& each) {
  Crew crew(count > 1 ? threads : 1);
  crew.each(count, [&](ptrdiff_t k, int) { each(k); });
}

template <class T> TGR_INLINE Vec<T> root(Vec<T> x) {
#if TGR_AVX512
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm512_maskz_sqrt_ps(__mmask16(-1), (__m512)x);
  else return (Vec<T>)_mm512_maskz_sqrt_pd(__mmask8(-1), (__m512d)x);
#elif TGR_AVX2
  if constexpr (sizeof(T) == 4) return (Vec<T>)_mm256_sqrt_ps((__m256)x);
  else return (Vec<T>)_mm256_sqrt_pd((__m256d)x);
#else
  for (ptrdiff_t l = 0; l < kWidth<T>; ++l) x[l] = sizeof(T) == 4 ? T(__builtin_sqrtf(float(x[l]))) : T(__builtin_sqrt(double(x[l])));
  return x;
#endif
}

// Updates a piece, vector by vector; `read` and `write` access whole vectors except the last.
template <class T, Rule R> void update_piece(const Update<T>& u) {
  const double* number = u.numbers;
  const auto constant = [&](int k) { return splat<T>(T(number[k])); };
  const bool decays = number[1] != 0;
  const Vec<T> lr = constant(0), decay = constant(1);
  T *const s0 = u.slots[0], *const s1 = u.slots[1], *const s2 = u.slots[2];
  const auto one = [&](ptrdiff_t i, const auto& read, const auto& write) __attribute__((always_inline)) {
    Vec<T> x = read(u.x + i), g = read(u.g + i), step;
    if (decays) g = g + decay * x;
    if constexpr (R == Rule::kSgd) {
      step = g;
      if (s0) {
        const Vec<T> momentum = constant(2), v = momentum * read(s0 + i) + g;
        write(s0 + i, v);
        step = number[3] != 0 ? g + momentum * v : v;
      }
      step = lr * step;
    } else if constexpr (R == Rule::kRmsprop) {
      const Vec<T> alpha = constant(2), rest = splat<T>(T(1.0 - number[2]));
      Vec<T> s = alpha * read(s0 + i) + rest * (g * g);
      write(s0 + i, s);
      if (s1) {
        const Vec<T> mean = alpha * read(s1 + i) + rest * g;
        write(s1 + i, mean);
        s = s - mean * mean;
      }
      step = g / (root<T>(s + constant(5)) + constant(3));
      if (s2) {
        step = constant(4) * read(s2 + i) + step;
        write(s2 + i, step);
      }
      step = lr * step;
    } else {
      const Vec<T> m = constant(2) * read(s0 + i) + splat<T>(T(1.0 - number[2])) * g;
      const Vec<T> v = constant(3) * read(s1 + i) + splat<T>(T(1.0 - number[3])) * (g * g);
      write(s0 + i, m);
      write(s1 + i, v);
      step = m / (root<T>(v) / constant(5) + constant(4)) * lr;
      x = x * constant(6);
    }
    write(u.out + i, x - step);
  };
  constexpr ptrdiff_t W = kWidth<T>;
  ptrdiff_t i = 0;
  for (; i + W <= u.n; i += W) {
    one(i, [](const T* p) __attribute__((always_inline)) { return load(p); }, [](T* p, Vec<T> v) __attribute__((always_inline)) { store(p, v); });
  }
  const ptrdiff_t remaining = u.n - i;
  if (remaining > 0) {
    one(i, [&](const T* p) __attribute__((always_inline)) { return load_n(p, remaining); },
        [&](T* p, Vec<T> v) __attribute__((always_inline)) { store_n(p, v, remaining); });
  }
}

template <class T> void update(Rule rule, const Update<T>* pieces, ptrdiff_t count, int threads) {
  share_out(count, threads, [&](ptrdiff_t k) {
    switch (rule) {
      case Rule::kSgd: return update_piece<T, Rule::kSgd>(pieces[k]);
      case Rule::kRmsprop: return update_piece<T, Rule::kRmsprop>(pieces[k]);
      case Rule::kAdam: return update_piece<T, Rule::kAdam>(pieces[k]);
    }
  });
}

// sums[k] = the sum of the squares of piece k, in double.
template <class T> void squares(const Values<T>* pieces, double* sums, ptrdiff_t count, int threads) {
  share_out(count, threads, [&](ptrdiff_t k) {
    constexpr ptrdiff_t kChains = 32;
    double chains[kChains] = {}, sum = 0;
    const T* in = pieces[k].in;
    const ptrdiff_t n = pieces[k].n;
    ptrdiff_t i = 0;
    for (; i + kChains <= n; i += kChains) {
      for (ptrdiff_t c = 0; c < kChains; ++c) chains[c] += double(in[i + c]) * double(in[i + c]);
    }
    for (; i < n; ++i) sum += double(in[i]) * double(in[i]);
    for (double chain : chains) sum += chain;
    sums[k] = sum;
  });
}

template <class T> void scale_all(T factor, const Values<T>* pieces, ptrdiff_t count, int threads) {
  share_out(count, threads, [&](ptrdiff_t k) {
    const Values<T>& span = pieces[k];
    for (ptrdiff_t i = 0; i < span.n; ++i) span.out[i] = span.in[i] * factor;
  });
}

}  // namespace tgr::TGR_ISA
