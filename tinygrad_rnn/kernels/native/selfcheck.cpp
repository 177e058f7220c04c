// A check of the kernels without Python, for machines where there is none at hand: a cross-compiled build under an emulator, say.
//
// For every instruction set here, cell and type: the forward run against a plain loop, and the gradients along a random direction against
// a difference of losses (double) or against the double run (float). Exits 0 if all agree.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "run.h"

using namespace tgr;

namespace {

constexpr ptrdiff_t B = 5, T = 7, D = 6, H = 19;
constexpr int64_t kLengths[B] = {7, 0, 3, 5, 7};
constexpr int kGates[] = {1, 1, 4, 3, 3};
const char* const kNames[] = {"rnn tanh", "rnn relu", "lstm", "gru, reset before", "gru, reset after"};

double draw() {  // the same numbers everywhere
  static uint64_t state = 1;
  state = state * 6364136223846793005u + 1442695040888963407u;
  return double(state >> 11) / double(uint64_t{1} << 53) * 2 - 1;
}

// x, kernel, recurrent kernel, bias, recurrent bias, c0, h0.
using Arguments = std::vector<std::vector<double>>;

Arguments random_arguments(int cell) {
  const ptrdiff_t G = kGates[cell] * H, sizes[] = {B * T * D, D * G, H * G, G, G, B * H, B * H};
  Arguments a;
  for (ptrdiff_t n : sizes) {
    a.emplace_back(n);
    for (double& value : a.back()) value = draw();
  }
  for (double& value : a[2]) value *= 0.3;
  return a;
}

template <class F> std::vector<std::vector<F>> cast(const Arguments& a) {
  std::vector<std::vector<F>> out;
  for (const auto& one : a) out.emplace_back(one.begin(), one.end());
  return out;
}

template <class F> struct Result {
  std::vector<F> outputs = std::vector<F>(B * T * H), h = std::vector<F>(B * H), c = std::vector<F>(B * H);
  std::vector<std::vector<F>> gradients;
};

// The loss is the sum of the outputs times `weight`.
template <class F> Result<F> run(const Isa& isa, int cell, const Arguments& arguments, const std::vector<double>& weight, int threads) {
  const auto a = cast<F>(arguments);
  const std::vector<F> w(weight.begin(), weight.end());
  Result<F> r;
  for (const auto& one : a) r.gradients.emplace_back(one.size());
  const OwnedSchedule schedule(B, T, kLengths);
  const Kernels<F>& kernels = kernels_of<F>(isa);
  Problem<F> p;
  p.cell = static_cast<Cell>(cell);
  p.B = B, p.T_ = T, p.D = D, p.H = H;
  p.schedule = schedule.view;
  p.x = {a[0].data(), T * D, D};
  p.kernel = a[1].data(), p.recurrent = a[2].data(), p.bias = a[3].data(), p.c0 = a[5].data(), p.h0 = a[6].data();
  if (p.cell == Cell::kGruAfter) p.recurrent_bias = a[4].data(), p.d_recurrent_bias = r.gradients[4].data();
  p.outputs = {r.outputs.data(), T * H, H};
  p.h = r.h.data(), p.c = r.c.data();
  const SavedSizes sizes = kernels.saved_sizes(p.cell, B, H, p.schedule.total, false);
  Buffer gates(sizes.gates * sizeof(F)), cells(sizes.cells * sizeof(F));
  p.gates = static_cast<F*>(gates.data()), p.cells = static_cast<F*>(cells.data());
  Workspace forward_memory, backward_memory;
  kernels.forward(p, forward_memory, threads);
  p.d_outputs = {w.data(), T * H, H};
  p.dx = {r.gradients[0].data(), T * D, D};
  p.d_kernel = r.gradients[1].data(), p.d_recurrent = r.gradients[2].data(), p.d_bias = r.gradients[3].data();
  p.d_c0 = r.gradients[5].data(), p.d_h0 = r.gradients[6].data();
  kernels.backward(p, backward_memory, threads);
  return r;
}

double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

std::vector<double> plain_loop(int cell, const Arguments& a) {
  const ptrdiff_t G = kGates[cell] * H;
  const auto product = [&](const double* v, ptrdiff_t n, const std::vector<double>& m, ptrdiff_t column) {
    double sum = 0;
    for (ptrdiff_t k = 0; k < n; ++k) sum += v[k] * m[k * G + column];
    return sum;
  };
  std::vector<double> outputs(B * T * H);
  for (ptrdiff_t b = 0; b < B; ++b) {
    std::vector<double> h(a[6].begin() + b * H, a[6].begin() + (b + 1) * H), c(a[5].begin() + b * H, a[5].begin() + (b + 1) * H);
    for (ptrdiff_t t = 0; t < kLengths[b]; ++t) {
      std::vector<double> zx(G), zh(G), next(H), reset(H);
      for (ptrdiff_t g = 0; g < G; ++g) {
        zx[g] = product(&a[0][(b * T + t) * D], D, a[1], g) + a[3][g];
        zh[g] = product(h.data(), H, a[2], g) + (cell == 4 ? a[4][g] : 0);
      }
      if (cell == 3) {
        for (ptrdiff_t u = 0; u < H; ++u) reset[u] = sigmoid(zx[H + u] + zh[H + u]) * h[u];
        for (ptrdiff_t u = 0; u < H; ++u) zh[2 * H + u] = product(reset.data(), H, a[2], 2 * H + u);
      }
      for (ptrdiff_t u = 0; u < H; ++u) {
        const auto z = [&](int gate) { return zx[gate * H + u] + zh[gate * H + u]; };
        if (cell == 0) next[u] = std::tanh(z(0));
        if (cell == 1) next[u] = z(0) > 0 ? z(0) : 0;
        if (cell == 2) {
          c[u] = sigmoid(z(1)) * c[u] + sigmoid(z(0)) * std::tanh(z(2));
          next[u] = sigmoid(z(3)) * std::tanh(c[u]);
        }
        if (cell >= 3) {
          const double n = std::tanh(cell == 3 ? z(2) : zx[2 * H + u] + sigmoid(z(1)) * zh[2 * H + u]);
          next[u] = sigmoid(z(0)) * h[u] + (1 - sigmoid(z(0))) * n;
        }
      }
      h = next;
      std::memcpy(&outputs[(b * T + t) * H], h.data(), H * sizeof(double));
    }
  }
  return outputs;
}

template <class A, class C> double difference(const A& a, const C& b) {
  double worst = 0, size = 1;
  for (size_t k = 0; k < a.size(); ++k) {
    worst = std::fmax(worst, std::fabs(double(a[k]) - double(b[k])));
    size = std::fmax(size, std::fabs(double(b[k])));
  }
  return worst / size;
}

bool report(const char* isa, int cell, const char* what, double error, double most) {
  const bool good = error <= most;
  std::printf("%-9s %-18s %-34s %.1e %s\n", isa, kNames[cell], what, error, good ? "ok" : "WRONG");
  return good;
}

double loss(const std::vector<double>& outputs, const std::vector<double>& weight) {
  double sum = 0;
  for (size_t k = 0; k < outputs.size(); ++k) sum += outputs[k] * weight[k];
  return sum;
}

bool check(const Isa& isa, int cell) {
  const Arguments a = random_arguments(cell);
  Arguments direction = random_arguments(cell), forth = a, back = a;
  std::vector<double> weight(B * T * H);
  for (double& value : weight) value = draw();
  const double eps = 1e-5;
  double along = 0;
  const auto f64 = run<double>(isa, cell, a, weight, 1);
  const auto f64_threads = run<double>(isa, cell, a, weight, 3);
  const auto f32 = run<float>(isa, cell, a, weight, 1);
  for (size_t k = 0; k < a.size(); ++k) {
    for (size_t n = 0; n < a[k].size(); ++n) {
      forth[k][n] += eps * direction[k][n];
      back[k][n] -= eps * direction[k][n];
      along += f64.gradients[k][n] * direction[k][n];
    }
  }
  const double numeric = (loss(plain_loop(cell, forth), weight) - loss(plain_loop(cell, back), weight)) / (2 * eps);
  double f32_error = 0;
  bool same = f64.outputs == f64_threads.outputs;
  for (size_t k = 0; k < a.size(); ++k) {
    f32_error = std::fmax(f32_error, difference(f32.gradients[k], f64.gradients[k]));
    same = same && f64.gradients[k] == f64_threads.gradients[k];
  }
  bool good = report(isa.name, cell, "outputs, double, to a plain loop", difference(f64.outputs, plain_loop(cell, a)), 1e-13);
  good &= report(isa.name, cell, "outputs, float, to double", difference(f32.outputs, f64.outputs), 1e-5);
  good &= report(isa.name, cell, "gradients, double, to a difference", std::fabs(along - numeric) / std::fmax(1, std::fabs(numeric)), 1e-7);
  good &= report(isa.name, cell, "gradients, float, to double", f32_error, 1e-5);
  good &= report(isa.name, cell, "one thread and three, same bits", same ? 0 : 1, 0);
  return good;
}

}  // namespace

int main() {
  bool good = true;
  for (const Isa* const* isa = available(); *isa; ++isa) {
    for (int cell = 0; cell < 5; ++cell) good = check(**isa, cell) && good;
  }
  std::printf(good ? "all good\n" : "something is wrong\n");
  return good ? 0 : 1;
}
