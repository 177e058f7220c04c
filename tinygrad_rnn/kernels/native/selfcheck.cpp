// Checks the kernels without Python, for example in a cross-compiled build under an emulator.
//
// For every available instruction set, cell and type, the outputs are compared with a plain loop; the gradients along a random direction with
// a finite difference (double) or with the double run (float); and the results of weights in PyTorch's layout must be the same bits. The LSTM
// also runs as a loop program with a sum of outer products. Matrix products are compared with plain sums. Exits 0 if all checks pass.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "build.h"
#include "run.h"

using namespace tgr;

namespace {

constexpr ptrdiff_t B = 5, T = 7, D = 6, H = 19;
constexpr int64_t kLengths[B] = {7, 0, 3, 5, 7};
constexpr int kGates[] = {1, 1, 4, 3, 3};
const char* const kNames[] = {"rnn tanh", "rnn relu", "lstm", "gru, reset before", "gru, reset after"};

double draw() {  // the same numbers on every machine
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

// Converts a matrix of `rows` rows to PyTorch's layout, transposed and with a GRU's first two gates exchanged; with `back`, from it.
template <class F> void to_torch(std::vector<F>& matrix, ptrdiff_t rows, int gates, bool back) {
  const std::vector<F> from = matrix;
  const ptrdiff_t columns = gates * H;
  for (ptrdiff_t c = 0; c < columns; ++c) {
    const ptrdiff_t gate = c / H, row = (gates == 3 && gate < 2 ? 1 - gate : gate) * H + c % H;
    for (ptrdiff_t r = 0; r < rows; ++r) {
      if (back) matrix[r * columns + c] = from[row * rows + r];
      else matrix[row * rows + r] = from[r * columns + c];
    }
  }
}

// The loss is the sum of the outputs times `weight`. torch: runs with weights in PyTorch's layout; the gradients are returned in ours.
template <class F>
Result<F> run(const Isa& isa, int cell, const Arguments& arguments, const std::vector<double>& weight, int threads, bool torch = false) {
  auto a = cast<F>(arguments);
  const ptrdiff_t rows[] = {0, D, H, 1, 1};
  for (int k = 1; torch && k < 5; ++k) to_torch(a[k], rows[k], kGates[cell], false);
  const std::vector<F> w(weight.begin(), weight.end());
  Result<F> r;
  for (const auto& one : a) r.gradients.emplace_back(one.size());
  const OwnedSchedule schedule(B, T, kLengths);
  const Kernels<F>& kernels = kernels_of<F>(isa);
  Problem<F> p;
  p.cell = static_cast<Cell>(cell);
  p.B = B, p.T_ = T, p.D = D, p.H = H;
  p.schedule = schedule.view;
  p.torch = p.kernel_column_major = p.recurrent_column_major = torch;
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
  for (int k = 1; torch && k < 5; ++k) to_torch(r.gradients[k], rows[k], kGates[cell], true);
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

bool report(const char* isa, const char* name, const char* what, double error, double most) {
  const bool good = error <= most;
  std::printf("%-9s %-18s %-34s %.1e %s\n", isa, name, what, error, good ? "ok" : "WRONG");
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
  bool good = report(isa.name, kNames[cell], "outputs, double, to a plain loop", difference(f64.outputs, plain_loop(cell, a)), 1e-13);
  good &= report(isa.name, kNames[cell], "outputs, float, to double", difference(f32.outputs, f64.outputs), 1e-5);
  good &= report(isa.name, kNames[cell], "gradients, double, to a difference", std::fabs(along - numeric) / std::fmax(1, std::fabs(numeric)), 1e-7);
  good &= report(isa.name, kNames[cell], "gradients, float, to double", f32_error, 1e-5);
  good &= report(isa.name, kNames[cell], "one thread and three, same bits", same ? 0 : 1, 0);
  const auto torch = run<float>(isa, cell, a, weight, 1, true);
  good &= report(isa.name, kNames[cell], "PyTorch's layout, same bits", torch.outputs == f32.outputs && torch.gradients == f32.gradients ? 0 : 1, 0);
  return good;
}

// The LSTM as a loop program; the target of its sum is x^T h over all rows.
OwnedProgram lstm_program(bool f64) {
  enum { kX, kOut, kC, kH, kZ, kNewC, kA, kB };
  Description d;
  d.f64 = f64;
  d.slots = {{Storage::kSequence, 0, D}, {Storage::kSequence, 1, H}, {Storage::kState, 0, H},   {Storage::kState, 1, H},
             {Storage::kTemp, 0, 4 * H}, {Storage::kTemp, 0, H},     {Storage::kScratch, 0, H}, {Storage::kScratch, 0, H}};
  d.sequences = {{false, false, -1, -1}, {false, true, -1, -1}};
  d.states = {{kNewC, 0, H, false, false}, {kOut, 0, H, false, false}};
  d.sums = {{0, kX, kOut, 0, D, 0, H, 1}};
  const auto operand = [](Where where, int index, ptrdiff_t offset, ptrdiff_t s0, ptrdiff_t s1, ptrdiff_t s2) {
    Operand o;
    o.where = where, o.index = index, o.offset = offset;
    o.stride[0] = s0, o.stride[1] = s1, o.stride[2] = s2;
    return o;
  };
  const auto product = [&](int left, ptrdiff_t K, int matrix, bool accumulate) {
    Instruction i;
    i.code = Code::product, i.accumulate = accumulate;
    i.dims = 3, i.inputs = accumulate ? 2 : 3;
    i.shape[0] = 1, i.shape[1] = 4 * H, i.shape[2] = K;
    i.out = operand(Where::kSlot, kZ, 0, 0, 1, 0);
    i.in[0] = operand(Where::kSlot, left, 0, 0, 0, 1);
    i.in[1] = operand(Where::kWeight, matrix, 0, 0, 4 * H, 1);
    i.in[2] = operand(Where::kWeight, 2, 0, 0, 1, 0);
    return i;
  };
  const auto map = [&](Code code, int out, int a, ptrdiff_t a_offset, int b = -1, ptrdiff_t b_offset = 0) {
    Instruction i;
    i.code = code;
    i.dims = 1, i.inputs = b < 0 ? 1 : 2;
    i.shape[0] = H;
    i.out = operand(Where::kSlot, out, out == kZ ? a_offset : 0, 1, 0, 0);
    i.in[0] = operand(Where::kSlot, a, a_offset, 1, 0, 0);
    i.in[1] = operand(Where::kSlot, b, b_offset, 1, 0, 0);
    return i;
  };
  d.before = {product(kX, D, 0, false)};
  d.body = {product(kH, H, 1, true),
            map(Code::sigmoid, kZ, kZ, 0),
            map(Code::sigmoid, kZ, kZ, H),
            map(Code::tanh, kZ, kZ, 2 * H),
            map(Code::sigmoid, kZ, kZ, 3 * H),
            map(Code::mul, kA, kZ, H, kC),
            map(Code::mul, kB, kZ, 0, kZ, 2 * H),
            map(Code::add, kNewC, kA, 0, kB),
            map(Code::tanh, kA, kNewC, 0),
            map(Code::mul, kOut, kA, 0, kZ, 3 * H)};
  return OwnedProgram(std::move(d));
}

// Returns the outputs, followed by the sum.
template <class F> std::vector<F> run_program(const Isa& isa, const Arguments& arguments, int threads) {
  const auto a = cast<F>(arguments);
  std::vector<F> outputs(B * T * H), sum(D * H);
  const OwnedProgram program = lstm_program(sizeof(F) == sizeof(double));
  const OwnedSchedule schedule(B, T, kLengths);
  const Sequence<F> sequences[] = {{const_cast<F*>(a[0].data()), T * D, D}, {outputs.data(), T * H, H}};
  const F *const initial[] = {a[5].data(), a[6].data()}, *const weights[] = {a[1].data(), a[2].data(), a[3].data()};
  F *const final[] = {nullptr, nullptr}, *const targets[] = {sum.data()};
  LoopCall<F> call;
  call.B = B, call.T_ = T;
  call.schedule = schedule.view;
  call.sequences = sequences, call.initial = initial, call.final = final, call.weights = weights, call.targets = targets;
  Workspace memory;
  kernels_of<F>(isa).loop(program.view, call, memory, threads, nullptr);
  outputs.insert(outputs.end(), sum.begin(), sum.end());
  return outputs;
}

bool check_program(const Isa& isa) {
  const Arguments a = random_arguments(2);
  std::vector<double> want = plain_loop(2, a), sum(D * H);
  for (ptrdiff_t row = 0; row < B * T; ++row) {  // outputs are 0 past the lengths
    for (ptrdiff_t k = 0; k < D * H; ++k) sum[k] += a[0][row * D + k / H] * want[row * H + k % H];
  }
  want.insert(want.end(), sum.begin(), sum.end());
  const auto f64 = run_program<double>(isa, a, 1);
  bool good = report(isa.name, kNames[2], "as a loop program, double", difference(f64, want), 1e-13);
  good &= report(isa.name, kNames[2], "as a loop program, float", difference(run_program<float>(isa, a, 1), want), 1e-5);
  good &= report(isa.name, kNames[2], "as a loop program, three threads", f64 == run_program<double>(isa, a, 3) ? 0 : 1, 0);
  return good;
}

// The error of C = bias + A B, with A and B plain or transposed, relative to a plain sum.
template <class F> double product_error(const Isa& isa, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, bool a_transposed, bool b_transposed, int threads) {
  std::vector<F> a(M * K), b(K * N), c(M * N), bias(N);
  for (auto* array : {&a, &b, &bias}) {
    for (F& value : *array) value = F(draw());
  }
  Product<F> p;
  p.M = M, p.N = N, p.K = K;
  p.a = a.data(), p.a_row = a_transposed ? 1 : K, p.a_step = a_transposed ? M : 1;
  p.b = b.data(), p.b_row = b_transposed ? 1 : N, p.b_column = b_transposed ? K : 1;
  p.c = c.data(), p.c_row = N, p.bias = bias.data();
  Workspace memory;
  kernels_of<F>(isa).matmul(p, memory, threads);
  std::vector<double> want(M * N);
  for (ptrdiff_t i = 0; i < M; ++i) {
    for (ptrdiff_t j = 0; j < N; ++j) {
      want[i * N + j] = double(bias[j]);
      for (ptrdiff_t k = 0; k < K; ++k) want[i * N + j] += double(a[i * p.a_row + k * p.a_step]) * double(b[k * p.b_row + j * p.b_column]);
    }
  }
  return difference(c, want);
}

bool check_products(const Isa& isa) {
  const ptrdiff_t sizes[][3] = {{1, 1, 1}, {5, 19, 7}, {7, 70, 3}, {8, 33, 40}, {61, 130, 530}};
  double f32 = 0, f64 = 0;
  for (const auto& size : sizes) {
    for (int transposed = 0; transposed < 4; ++transposed) {
      for (int threads : {1, 3}) {
        f32 = std::fmax(f32, product_error<float>(isa, size[0], size[1], size[2], transposed & 1, transposed & 2, threads));
        f64 = std::fmax(f64, product_error<double>(isa, size[0], size[1], size[2], transposed & 1, transposed & 2, threads));
      }
    }
  }
  const bool good = report(isa.name, "matrices", "products, float, to a plain sum", f32, 1e-5);
  return report(isa.name, "matrices", "products, double, to a plain sum", f64, 1e-13) && good;
}

// The time of calls whose number of threads ThreadTrials chooses, relative to that of the faster way, which changes after half of the calls.
bool check_trials() {
  constexpr int kCalls = 4000;
  constexpr double kOperations = 1e7;
  ThreadTrials trials;
  double spent = 0;
  for (int k = 0; k < kCalls; ++k) {
    const bool far = k < kCalls / 2;  // two cores that share no cache
    const int threads = trials.choose(2, kOperations);
    const double seconds = threads == 1 ? 1e-4 : far ? 1.5e-4 : 0.7e-4;
    trials.note(threads, kOperations, seconds);
    spent += seconds / (far ? 1e-4 : 0.7e-4);
  }
  return report("any", "threads", "time of small calls above the faster way's", spent / kCalls - 1, 0.05);
}

}  // namespace

int main() {
  bool good = check_trials();
  for (const Isa* const* isa = available(); *isa; ++isa) {
    for (int cell = 0; cell < 5; ++cell) good = check(**isa, cell) && good;
    good = check_program(**isa) && good;
    good = check_products(**isa) && good;
  }
  std::printf(good ? "all checks passed\n" : "a check failed\n");
  return good ? 0 : 1;
}
