// Checks and completes each instruction of a program: merges dimensions and chooses the form in which it accesses its elements.
#include <algorithm>

#include "build_checks.h"

namespace tgr {
namespace {

// Removes those of the dimensions first .. last that have size 1, and merges neighbours whose strides are those of one dimension in every
// operand. Returns the new `last`; the dimensions after it move up.
int merge(Instruction& i, int first, int last, std::initializer_list<Operand*> operands) {
  int kept = first;
  const auto move = [&](int to, int from) {
    i.shape[to] = i.shape[from];
    for (Operand* o : operands) o->stride[to] = o->stride[from];
  };
  for (int d = first; d < last; ++d) {
    if (i.shape[d] == 1) continue;
    const bool joins = kept > first && std::all_of(operands.begin(), operands.end(), [&](const Operand* o) {
      return o->stride[kept - 1] == o->stride[d] * i.shape[d];
    });
    if (joins) {
      const ptrdiff_t before = i.shape[kept - 1];
      move(kept - 1, d);
      i.shape[kept - 1] *= before;
    } else {
      move(kept++, d);
    }
  }
  if (kept == first) {  // a single element
    i.shape[kept] = 1;
    for (Operand* o : operands) o->stride[kept] = 1;
    ++kept;
  }
  int end = kept;
  for (int d = last; d < i.dims; ++d) move(end++, d);
  i.dims = end;
  return kept;
}

}  // namespace

bool OwnedProgram::complete(Instruction& i) {
  if (i.code == Code::product) {
    expect(i.dims == 3, "a product's shape is not (m, N, K)");
    expect((i.inputs == 2 || i.inputs == 3) && i.in[0].where == Where::kSlot && i.in[1].where == Where::kWeight, "a product's operands are wrong");
    expect(i.inputs == 2 || (i.in[2].where == Where::kWeight && !i.accumulate), "a product's bias is not a weight");
    if (i.shape[0] == 0 || i.shape[1] == 0) return false;
    complete_product(i);
    return true;
  }
  if (i.code == Code::rowproduct) {
    expect(i.dims == 4 && i.inputs == 2 && i.in[0].where != Where::kNumber && i.in[1].where != Where::kNumber, "a rowproduct's operands are wrong");
    return complete_rowproduct(i);
  }
  if (is_reduction(i.code)) {
    expect(i.inputs == 1 && i.in[0].where != Where::kNumber && i.reduced >= 0 && i.reduced <= i.dims, "a reduction's operands are wrong");
    return complete_reduction(i);
  }
  const int inputs = is_unary(i.code) ? 1 : is_binary(i.code) ? 2 : 3;
  expect(i.inputs == inputs, "an elementwise instruction has the wrong number of inputs");
  if (elements(i.shape, 0, i.dims) == 0) return false;
  check_range(i.out, i.shape, i.dims);
  for (int d = 0; d < i.dims; ++d) expect(i.shape[d] == 1 || i.out.stride[d] != 0, "an output's stride is 0");
  for (int k = 0; k < i.inputs; ++k) check_range(i.in[k], i.shape, i.dims);
  complete_elementwise(i);
  return true;
}

void OwnedProgram::complete_elementwise(Instruction& i) const {
  if (i.dims == 0) i.dims = 1, i.shape[0] = 1;
  for (int k = i.inputs; k < 3; ++k) i.in[k] = i.in[0];
  for (Operand& o : i.in) {
    if (o.where == Where::kNumber) std::fill(o.stride, o.stride + kMostDims, 0);
  }
  merge(i, 0, i.dims, {&i.out, &i.in[0], &i.in[1], &i.in[2]});
  const int last = i.dims - 1;
  const ptrdiff_t n = i.shape[last];
  const auto complete_operand = [&](Operand& o) {
    o.scalar = o.where == Where::kNumber || (o.where == Where::kWeight && n == 1) || (n > 1 && o.stride[last] == 0);
    o.whole = o.where == Where::kSlot && i.dims == 1 && o.stride[0] == 1 && n == slot(o.index).size &&
              (slot(o.index).storage == Storage::kTemp || slot(o.index).storage == Storage::kScratch);
    return i.dims == 1 && (o.scalar || o.stride[0] == 1);
  };
  bool runs = complete_operand(i.out);
  i.flat = i.out.whole;
  for (int k = 0; k < i.inputs; ++k) {
    runs &= complete_operand(i.in[k]);
    i.flat &= i.in[k].whole || (i.in[k].scalar && i.in[k].where != Where::kSlot);
  }
  i.form = runs ? Form::kRuns : Form::kStrided;
}

bool OwnedProgram::complete_reduction(Instruction& i) {
  const int kept = i.dims - i.reduced;
  for (int d = kept; d < i.dims; ++d) i.out.stride[d] = 0;
  if (elements(i.shape, 0, kept) == 0) return false;
  check_range(i.out, i.shape, kept);
  for (int d = 0; d < kept; ++d) expect(i.shape[d] == 1 || i.out.stride[d] != 0, "an output's stride is 0");
  if (elements(i.shape, kept, i.dims) == 0) {  // over no elements: the identity of the operation
    expect(i.code != Code::max && i.code != Code::min, "a maximum or minimum over no elements");
    const double value = i.code == Code::prod || i.code == Code::all;
    i.code = Code::copy;
    i.dims = kept;
    i.in[0] = {};
    i.in[0].f64 = value, i.in[0].f32 = float(value);
    complete_elementwise(i);
    return true;
  }
  check_range(i.in[0], i.shape, i.dims);
  if (i.reduced == 0 || i.dims == i.reduced) {  // a reduction needs one kept and one reduced dimension
    const int at = i.reduced == 0 ? i.dims : 0;
    for (int d = i.dims; d > at; --d) i.shape[d] = i.shape[d - 1], i.in[0].stride[d] = i.in[0].stride[d - 1], i.out.stride[d] = i.out.stride[d - 1];
    i.shape[at] = 1, i.in[0].stride[at] = 1, i.out.stride[at] = i.reduced == 0 ? 0 : 1;
    ++i.dims;
    if (i.reduced == 0) i.reduced = 1;
  }
  const int first = merge(i, 0, i.dims - i.reduced, {&i.out, &i.in[0]});
  merge(i, first, i.dims, {&i.in[0]});
  i.reduced = i.dims - first;
  const ptrdiff_t inner = i.in[0].stride[i.dims - 1], outer = i.in[0].stride[first - 1];
  const bool columns = i.shape[first - 1] > 1 && outer == 1 && i.out.stride[first - 1] == 1;
  i.form = inner == 1 ? Form::kInner : columns ? Form::kOuter : Form::kAny;
  return true;
}

void OwnedProgram::complete_product(Instruction& i) {
  const ptrdiff_t m = i.shape[0], N = i.shape[1], K = i.shape[2];
  Operand &A = i.in[0], &W = i.in[1];
  expect(K == 0 || K == 1 || A.stride[2] == 1, "a product's left operand is not contiguous");
  expect(N == 1 || i.out.stride[1] == 1, "a product's output is not contiguous");
  expect(m == 1 || i.out.stride[0] >= N, "a product's outputs overlap");
  A.stride[1] = 0, A.stride[2] = 1, i.out.stride[1] = 1, i.out.stride[2] = 0;
  if (m == 1) A.stride[0] = 0, i.out.stride[0] = 0;
  const Slot& c = slot(i.out.index);
  i.out.whole = m == 1 && i.out.offset + N == c.size && (c.storage == Storage::kTemp || c.storage == Storage::kScratch);
  const ptrdiff_t a_shape[] = {m, K}, c_shape[] = {m, N}, w_shape[] = {i.transposed ? N : K, i.transposed ? K : N};
  Operand a = A, w = W;
  a.stride[1] = 1;
  check_range(i.out, c_shape, 2);
  if (i.inputs == 3) {
    Operand start = i.in[2];
    start.stride[0] = 1;
    check_range(start, &N, 1);
    const Bias bias{start.index, start.offset, N};
    const auto same = [&](const Bias& b) { return b.weight == bias.weight && b.offset == bias.offset && b.N == bias.N; };
    i.start = static_cast<int>(std::find_if(biases_.begin(), biases_.end(), same) - biases_.begin());
    if (i.start == static_cast<int>(biases_.size())) biases_.push_back(bias);
  }
  if (K == 0) {
    i.matrix = -1;
    return;
  }
  check_range(a, a_shape, 2);
  expect(!(A.index == i.out.index && A.offset <= i.out.offset + (m - 1) * i.out.stride[0] + N - 1 &&
           i.out.offset <= A.offset + (m - 1) * A.stride[0] + K - 1),
         "a product's output overlaps its left operand");
  w.stride[0] = W.stride[1], w.stride[1] = 1;
  expect(w.stride[0] >= w_shape[1] || w_shape[0] == 1, "the rows of a product's weight overlap");
  check_range(w, w_shape, 2);
  const Matrix matrix{W.index, W.offset, w_shape[0] == 1 ? w_shape[1] : w.stride[0], K, N, i.transposed};
  const auto same = [&](const Matrix& x) {
    return x.weight == matrix.weight && x.offset == matrix.offset && x.row == matrix.row && x.K == K && x.N == N && x.transposed == i.transposed;
  };
  i.matrix = static_cast<int>(std::find_if(matrices_.begin(), matrices_.end(), same) - matrices_.begin());
  if (i.matrix == static_cast<int>(matrices_.size())) matrices_.push_back(matrix);
}

bool OwnedProgram::complete_rowproduct(Instruction& i) {
  Operand &A = i.in[0], &B = i.in[1];
  A.stride[2] = B.stride[1] = i.out.stride[3] = 0;
  double work = 1;
  for (int d = 0; d < 4; ++d) work *= double(i.shape[d]);
  expect(work < double(kMostOffset), "a rowproduct's shape is out of range");
  if (i.shape[0] == 0 || i.shape[1] == 0 || i.shape[2] == 0) return false;
  check_range(i.out, i.shape, 3);
  for (int d = 0; d < 3; ++d) expect(i.shape[d] == 1 || i.out.stride[d] != 0, "an output's stride is 0");
  if (i.shape[3] == 0) {
    i.code = Code::copy;
    i.inputs = 1, i.dims = 3;
    i.in[0] = {};
    complete_elementwise(i);
    return true;
  }
  check_range(A, i.shape, 4);
  check_range(B, i.shape, 4);
  const bool columns = i.shape[2] > 1 && B.stride[2] == 1 && i.out.stride[2] == 1;
  const bool rows = i.shape[1] > 1 && A.stride[1] == 1 && i.out.stride[1] == 1;
  const bool inner = A.stride[3] == 1 && B.stride[3] == 1;
  i.form = columns || rows ? Form::kOuter : inner ? Form::kInner : Form::kAny;
  if (rows && !columns) {  // C^T = B^T A^T
    std::swap(A, B);
    std::swap(i.shape[1], i.shape[2]);
    for (Operand* o : {&A, &B, &i.out}) std::swap(o->stride[1], o->stride[2]);
  }
  return true;
}

}  // namespace tgr
