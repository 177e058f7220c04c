#include "build.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace tgr {
namespace {

constexpr ptrdiff_t kMostElements = ptrdiff_t{1} << 28;  // of a row: with 2^31 rows, bytes still fit an index
constexpr ptrdiff_t kMostOffset = ptrdiff_t{1} << 40;

void expect(bool holds, const std::string& what) {
  if (!holds) throw std::invalid_argument("native loop: " + what);
}

bool in(int index, size_t count) { return index >= 0 && static_cast<size_t>(index) < count; }

// offset .. offset + size lies within `whole`.
bool fits(ptrdiff_t offset, ptrdiff_t size, ptrdiff_t whole) { return offset >= 0 && size >= 0 && offset <= whole && size <= whole - offset; }

ptrdiff_t elements(const ptrdiff_t* shape, int first, int last) {
  ptrdiff_t n = 1;
  for (int d = first; d < last; ++d) n *= shape[d];
  return n;
}

// Dimensions first .. last without those of size 1, and with neighbours made one wherever every operand steps through both evenly.
// Returns the new `last`; what follows moves up.
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

Code code_named(const std::string& name) {
#define TGR_COMPARE(code) \
  if (name == #code) return Code::code;
  TGR_FIRST_CODES(TGR_COMPARE) TGR_LAST_CODES(TGR_COMPARE)
#undef TGR_COMPARE
#define TGR_COMPARE(first, second) \
  if (name == #first "_" #second) return Code::first##_##second;
  TGR_PAIRS(TGR_COMPARE)
#undef TGR_COMPARE
  throw std::invalid_argument("native loop: no instruction is named " + name);
}

namespace {
// The code of `second` on the result of `first`, as its left or right operand.
Code pair_of(Code first, Code second, bool right) {
  const std::string names[] = {"add", "sub", "mul"};
  const auto name = [&](Code c) { return names[c == Code::add ? 0 : c == Code::sub ? 1 : 2]; };
  return code_named(name(first) + (second == Code::sub && right ? "_r" : "_") + name(second));
}
}  // namespace

OwnedProgram::OwnedProgram(Description description) : d_(std::move(description)) {
  check_tables();
  own_states();
  weights_.assign(0, 0);
  written_.assign(d_.slots.size(), false);
  check_list(d_.once, Phase::kOnce);
  check_list(d_.before, Phase::kBefore);
  check_list(d_.body, Phase::kBody);
  const std::vector<bool> written_by_body = written_;
  for (const StateOf& state : d_.states) {
    const Slot& out = slot(state.out_slot);
    const bool written = written_by_body[static_cast<size_t>(state.out_slot)];
    const bool needs = out.kind == Kind::kTemp || out.kind == Kind::kOnce ||
                       (out.kind == Kind::kSequence && d_.sequences[static_cast<size_t>(out.index)].written);
    expect(written || !needs, "no instruction up to the end of the body writes the slot of a new state");
  }
  check_list(d_.after, Phase::kAfter);
  check_uses();
  for (std::vector<Instruction>* list : {&d_.once, &d_.before, &d_.body, &d_.after}) join_pairs(*list);

  Program& p = view;
  p.element = d_.f64 ? sizeof(double) : sizeof(float);
  const auto span = [](auto& to, const auto& from) { to = {from.data(), static_cast<int>(from.size())}; };
  span(p.slots, d_.slots);
  span(p.sequences, d_.sequences);
  span(p.states, d_.states);
  span(p.constants, d_.constants);
  span(p.sums, d_.sums);
  span(p.accumulators, d_.accumulators);
  span(p.outers, d_.outers);
  span(p.matrices, matrices_);
  span(p.biases, biases_);
  span(p.weights, weights_);
  span(p.targets, targets_);
  for (size_t k = 0; k < d_.slots.size(); ++k) {
    if (d_.slots[k].kind == Kind::kState && d_.states[static_cast<size_t>(d_.slots[k].index)].kept) kept_.push_back(static_cast<int>(k));
  }
  span(p.summed, summed_);
  span(p.kept, kept_);
  p.once = finish_list(d_.once, memory_[0]);
  p.before = finish_list(d_.before, memory_[1]);
  p.body = finish_list(d_.body, memory_[2]);
  p.after = finish_list(d_.after, memory_[3]);
  for (const SequenceOf& s : d_.sequences) p.initials = std::max(p.initials, s.shifted + 1);
  p.once_operations = operations(d_.once);
  p.row_operations = operations(d_.before) + operations(d_.body) + operations(d_.after);
  for (const OuterOf& o : d_.outers) p.row_operations += 2.0 * double(o.left_size) * double(o.right_size);
  for (const SumOf& s : d_.sums) p.row_operations += 2.0 * double(s.multiple) * double(std::max<ptrdiff_t>(s.left_size, 1)) * double(s.right_size);
}

void OwnedProgram::check_tables() {
  constexpr size_t kMost = 1 << 16;
  expect(d_.slots.size() < kMost && d_.sequences.size() < kMost && d_.states.size() < kMost && d_.sums.size() < kMost, "too many slots");
  for (SequenceOf& s : d_.sequences) {
    expect(s.shifted >= -1 && s.shifted < int(kMost), "a sequence's shift is out of range");
    expect(!(s.written && s.shifted >= 0), "a shifted sequence cannot be written");
    s.size = -1;
  }
  for (const ptrdiff_t size : d_.constants) expect(fits(0, size, kMostElements), "a constant's size is out of range");
  for (const StateOf& s : d_.states) {
    expect(in(s.out_slot, d_.slots.size()), "a state's slot is out of range");
    expect(fits(s.out_offset, s.size, kMostElements), "a state's size is out of range");
  }
  for (const Slot& s : d_.slots) {
    expect(s.kind >= Kind::kTemp && s.kind <= Kind::kScratch, "a slot's kind is out of range");
    expect(fits(0, s.size, kMostElements), "a slot's size is out of range");
    if (s.kind == Kind::kSequence) {
      expect(in(s.index, d_.sequences.size()), "a slot's sequence is out of range");
      ptrdiff_t& size = d_.sequences[static_cast<size_t>(s.index)].size;
      expect(size == -1 || size == s.size, "slots of one sequence have different sizes");
      size = s.size;
    }
    if (s.kind == Kind::kState) {
      expect(in(s.index, d_.states.size()), "a slot's state is out of range");
      expect(d_.states[static_cast<size_t>(s.index)].size == s.size, "a slot of a state has another size");
    }
    if (s.kind == Kind::kConstant) {
      expect(in(s.index, d_.constants.size()), "a slot's constant is out of range");
      expect(d_.constants[static_cast<size_t>(s.index)] == s.size, "a slot of a constant has another size");
    }
  }
  for (const SequenceOf& s : d_.sequences) expect(s.size >= 0 || !s.written, "no slot names a written sequence");
  for (const StateOf& s : d_.states) {
    const Slot& out = slot(s.out_slot);
    expect(out.kind != Kind::kScratch, "a new state lies in scratch memory");
    expect(fits(s.out_offset, s.size, out.size), "a new state does not fit its slot");
  }
}

// A new state that is another state, or part of one, gets a slot of its own: what a state received is gone when the next step has run.
void OwnedProgram::own_states() {
  for (size_t k = 0; k < d_.states.size(); ++k) {
    StateOf& state = d_.states[k];
    state.out_slot = one_of(state.out_slot);
    const Slot from = slot(state.out_slot);
    if (from.kind != Kind::kState) continue;
    state.fixed = from.index == static_cast<int>(k);
    if (state.fixed) continue;
    Instruction copy;
    copy.code = Code::copy;
    copy.dims = copy.inputs = 1;
    copy.shape[0] = state.size;
    copy.in[0].where = copy.out.where = Where::kSlot;
    copy.in[0].index = state.out_slot;
    copy.in[0].offset = state.out_offset;
    copy.in[0].stride[0] = copy.out.stride[0] = 1;
    copy.out.index = state.out_slot = static_cast<int>(d_.slots.size());
    state.out_offset = 0;
    d_.slots.push_back({Kind::kTemp, 0, state.size});
    d_.body.push_back(copy);
  }
}

// The first of the slots that are the same sequence: one memory has one name.
int OwnedProgram::one_of(int index) const {
  const auto same = [&](const Slot& s) { return s.kind == Kind::kSequence && s.index == slot(index).index; };
  if (slot(index).kind != Kind::kSequence) return index;
  return static_cast<int>(std::find_if(d_.slots.begin(), d_.slots.end(), same) - d_.slots.begin());
}

void OwnedProgram::check_list(std::vector<Instruction>& list, Phase phase) {
  for (size_t k = 0; k < d_.slots.size(); ++k) {
    if (d_.slots[k].kind == Kind::kScratch) written_[k] = false;  // does not outlive its list
  }
  std::vector<Instruction> completed;
  for (Instruction& i : list) {
    expect(i.dims >= 0 && i.dims < kMostDims, "an instruction has too many dimensions");
    double size = 1;
    for (int d = 0; d < i.dims; ++d) {
      expect(i.shape[d] >= 0 && i.shape[d] <= kMostElements, "a shape is out of range");
      size *= double(i.shape[d]);
    }
    expect(i.code >= Code::product || size <= double(kMostElements), "a shape is out of range");
    for (int k = 0; k < i.inputs; ++k) check_reads(i.in[k], phase);
    if (i.accumulate) check_reads(i.out, phase);
    check_output(i.out, phase);
    i.out.index = one_of(i.out.index);
    for (int k = 0; k < i.inputs; ++k) {
      if (i.in[k].where == Where::kSlot) i.in[k].index = one_of(i.in[k].index);
    }
    const size_t out = static_cast<size_t>(i.out.index);
    if (complete(i)) completed.push_back(i);
    written_[out] = true;
  }
  list = completed;
}

void OwnedProgram::check_reads(const Operand& o, Phase phase) const {
  if (o.where == Where::kNumber) return;
  if (o.where == Where::kWeight) return expect(o.index >= 0 && o.index < (1 << 16), "a weight is out of range");
  expect(o.where == Where::kSlot && in(o.index, d_.slots.size()), "an operand's slot is out of range");
  const Kind kind = slot(o.index).kind;
  const bool later = phase == Phase::kBody || phase == Phase::kAfter, once = phase == Phase::kOnce;
  const bool memory = kind == Kind::kTemp || kind == Kind::kOnce || kind == Kind::kScratch;
  expect(!(once && (kind == Kind::kTemp || kind == Kind::kSequence)) && (later || kind != Kind::kState),
         "an instruction reads a slot that its list has not got");
  expect(!memory || written_[static_cast<size_t>(o.index)], "an instruction reads a slot before any has written it");
}

void OwnedProgram::check_output(const Operand& o, Phase phase) const {
  expect(o.where == Where::kSlot && in(o.index, d_.slots.size()), "an output's slot is out of range");
  const Slot& s = slot(o.index);
  const bool once = phase == Phase::kOnce;
  const bool writable = s.kind == Kind::kScratch || (once ? s.kind == Kind::kOnce : s.kind == Kind::kTemp) ||
                        (!once && s.kind == Kind::kSequence && d_.sequences[static_cast<size_t>(s.index)].written);
  expect(writable, "an instruction writes a slot that its list only reads");
}

// Every element is within the slot; how large a weight must be is noted.
void OwnedProgram::check_range(const Operand& o, const ptrdiff_t* shape, int dims) {
  if (o.where == Where::kNumber) return;
  expect(o.offset >= 0 && o.offset <= kMostOffset, "an offset is out of range");
  ptrdiff_t low = o.offset, high = o.offset;
  for (int d = 0; d < dims; ++d) {
    expect(o.stride[d] >= -kMostElements && o.stride[d] <= kMostElements, "a stride is out of range");
    const ptrdiff_t reach = (shape[d] - 1) * o.stride[d];  // below 2^56
    (reach < 0 ? low : high) += reach;
  }
  if (o.where == Where::kSlot) return expect(low >= 0 && high < slot(o.index).size, "an operand reaches beyond its slot");
  expect(low >= 0, "an operand reaches beyond its weight");
  const size_t k = static_cast<size_t>(o.index);
  if (weights_.size() <= k) weights_.resize(k + 1, 0);
  weights_[k] = std::max(weights_[k], high + 1);
}

bool OwnedProgram::complete(Instruction& i) {
  if (i.code == Code::product) {
    expect(i.dims == 3, "a product's shape is not (m, N, K)");
    expect((i.inputs == 2 || i.inputs == 3) && i.in[0].where == Where::kSlot && i.in[1].where == Where::kWeight, "a product's operands are wrong");
    expect(i.inputs == 2 || (i.in[2].where == Where::kWeight && !i.accumulate), "a product's start is no weight");
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
              (slot(o.index).kind == Kind::kTemp || slot(o.index).kind == Kind::kScratch);
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
  if (elements(i.shape, kept, i.dims) == 0) {  // of nothing: the number that changes nothing
    expect(i.code != Code::max && i.code != Code::min, "a maximum of nothing");
    const double value = i.code == Code::prod || i.code == Code::all;
    i.code = Code::copy;
    i.dims = kept;
    i.in[0] = {};
    i.in[0].f64 = value, i.in[0].f32 = float(value);
    complete_elementwise(i);
    return true;
  }
  check_range(i.in[0], i.shape, i.dims);
  if (i.reduced == 0 || i.dims == i.reduced) {  // at least one dimension of each sort
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
  i.out.whole = m == 1 && i.out.offset + N == c.size && (c.kind == Kind::kTemp || c.kind == Kind::kScratch);
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

// Sums and accumulators, and what they and the list after the body read of the states.
void OwnedProgram::check_uses() {
  const auto use = [&](int index, ptrdiff_t offset, ptrdiff_t size) {
    expect(in(index, d_.slots.size()) && fits(offset, size, slot(index).size), "a sum reaches beyond its slot");
    const Kind kind = slot(index).kind;
    expect(kind != Kind::kScratch && (kind == Kind::kState || kind == Kind::kSequence || kind == Kind::kConstant || written_[static_cast<size_t>(index)]),
           "a sum reads a slot that no instruction has written");
    if (kind == Kind::kState) d_.states[static_cast<size_t>(slot(index).index)].kept = true;
  };
  for (const Instruction& i : d_.after) {
    for (int k = 0; k < i.inputs; ++k) {
      if (i.in[k].where == Where::kSlot && slot(i.in[k].index).kind == Kind::kState) d_.states[static_cast<size_t>(slot(i.in[k].index).index)].kept = true;
    }
  }
  for (const SumOf& s : d_.sums) {
    expect(s.target >= 0 && s.target < (1 << 16) && s.left >= -1 && s.multiple >= 1 && s.multiple <= kMostElements, "a sum is out of range");
    for (const ptrdiff_t size : {s.left_size, s.right_size}) expect(fits(0, size, kMostElements / s.multiple), "a sum's size is out of range");
    expect(s.left < 0 || double(s.left_size) * double(s.right_size) < double(kMostOffset), "a sum's size is out of range");
    use(s.right, s.right_offset, s.multiple * s.right_size);
    if (s.left >= 0) use(s.left, s.left_offset, s.multiple * s.left_size);
    for (const int k : {s.left, s.right}) {
      if (k >= 0 && std::find(summed_.begin(), summed_.end(), k) == summed_.end()) summed_.push_back(k);
    }
    if (static_cast<int>(targets_.size()) <= s.target) targets_.resize(static_cast<size_t>(s.target) + 1, -1);
    ptrdiff_t& target = targets_[static_cast<size_t>(s.target)];
    const ptrdiff_t size = s.left < 0 ? s.right_size : s.left_size * s.right_size;
    expect(target == -1 || target == size, "sums of one target have different sizes");
    for (const SumOf& other : d_.sums) {  // threads share a target out by its rows: these must be the same for all
      expect(other.target != s.target || ((other.left < 0) == (s.left < 0) && other.right_size == s.right_size), "sums of one target have different sizes");
    }
    target = size;
  }
  for (const AccumulatorOf& a : d_.accumulators) {
    expect(a.slot >= -1 && fits(0, a.size, kMostElements), "an accumulator is out of range");
    if (a.slot >= 0) use(a.slot, a.offset, a.size);
  }
  for (const OuterOf& o : d_.outers) {
    expect(in(o.accumulator, d_.accumulators.size()), "an outer product's accumulator is out of range");
    use(o.left, o.left_offset, o.left_size);
    use(o.right, o.right_offset, o.right_size);
    const ptrdiff_t size = d_.accumulators[static_cast<size_t>(o.accumulator)].size;
    expect(double(o.left_size) * double(o.right_size) == double(size), "an outer product and its accumulator have different sizes");
  }
}

// Whether nobody reads what a list's instructions before `from` left in this slot: the next to touch it writes all of it.
bool OwnedProgram::dead_from(const std::vector<Instruction>& list, size_t from, int index) const {
  const auto is = [&](const Operand& o) { return o.where == Where::kSlot && o.index == index; };
  for (size_t k = from; k < list.size(); ++k) {
    const Instruction& i = list[k];
    if (std::any_of(i.in, i.in + i.inputs, is)) return false;
    if (is(i.out)) return is_elementwise(i.code) && i.out.whole;
  }
  return slot(index).kind == Kind::kScratch;
}

// An addition, subtraction or multiplication whose result only the next of them reads becomes one instruction with it.
void OwnedProgram::join_pairs(std::vector<Instruction>& list) const {
  const auto simple = [](const Instruction& i) {
    return i.form == Form::kRuns && (i.code == Code::add || i.code == Code::sub || i.code == Code::mul);
  };
  const auto same = [](const Operand& a, const Operand& b) { return b.where == Where::kSlot && a.index == b.index && a.offset == b.offset && !b.scalar; };
  std::vector<Instruction> joined;
  for (size_t k = 0; k < list.size(); ++k) {
    const Instruction& a = list[k];
    joined.push_back(a);
    if (k + 1 == list.size() || !simple(a) || !simple(list[k + 1])) continue;
    const Instruction& b = list[k + 1];
    const int left = same(a.out, b.in[0]), right = same(a.out, b.in[1]);
    const bool replaced = same(a.out, b.out);
    if (a.shape[0] != b.shape[0] || left + right != 1 || !(replaced || dead_from(list, k + 2, a.out.index))) continue;
    const Operand& other = b.in[left];
    if (other.where == Where::kSlot && other.index == a.out.index) continue;
    const auto apart = [&](const Operand& o) {  // what is written later, now, is either what is read or away from it
      return o.where != Where::kSlot || o.index != b.out.index || same(o, b.out);
    };
    if (!apart(a.in[0]) || !apart(a.in[1])) continue;
    Instruction& pair = joined.back();
    pair.code = pair_of(a.code, b.code, right);
    pair.inputs = 3;
    pair.in[2] = other;
    pair.out = b.out;
    pair.flat = a.flat && b.flat;
    ++k;
  }
  list = joined;
}

double OwnedProgram::operations(const std::vector<Instruction>& list) const {
  constexpr double kOfOneFunction = 20;
  double sum = 0;
  for (const Instruction& i : list) {
    const double size = double(elements(i.shape, 0, i.dims));
    sum += i.code >= Code::product ? 2 * size : is_unary(i.code) ? kOfOneFunction * size : size;
  }
  return sum;
}

List OwnedProgram::finish_list(const std::vector<Instruction>& list, ListMemory& memory) const {
  List out;
  out.instructions = list.data();
  out.count = static_cast<int>(list.size());
  const auto size_of = [&](const std::vector<int>& slots) {
    ptrdiff_t sum = 0;
    for (const int k : slots) sum += slot(k).size;
    return sum;
  };
  const auto add = [&](std::vector<int>& slots, const Operand& o) {
    if (o.where == Where::kSlot && std::find(slots.begin(), slots.end(), o.index) == slots.end()) slots.push_back(o.index);
  };
  for (int first = 0, last; first < out.count; first = last) {
    const bool product = list[static_cast<size_t>(first)].code == Code::product;
    std::vector<int> slots;
    for (last = first; last < out.count; ++last) {
      const Instruction& i = list[static_cast<size_t>(last)];
      if ((i.code == Code::product) != product || (product && last > first)) break;
      for (int k = -1; k < i.inputs; ++k) {
        add(slots, k < 0 ? i.out : i.in[k]);
        add(memory.slots, k < 0 ? i.out : i.in[k]);
      }
    }
    memory.segments.push_back({first, last, product, size_of(slots)});
    out.products |= product;
  }
  const auto moves = [&](int k) { return slot(k).kind != Kind::kScratch; };
  out.moving = static_cast<int>(std::stable_partition(memory.slots.begin(), memory.slots.end(), moves) - memory.slots.begin());
  out.segments = memory.segments.data();
  out.segment_count = static_cast<int>(memory.segments.size());
  out.slots = memory.slots.data();
  out.row_size = size_of(memory.slots);
  return out;
}

}  // namespace tgr
