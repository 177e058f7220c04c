#include <algorithm>
#include <utility>

#include "build_checks.h"

namespace tgr {

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
// The code of `first` followed by `second`, with the result of `first` as the left or right operand of `second`.
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
    const bool needs = out.storage == Storage::kTemp || out.storage == Storage::kOnce ||
                       (out.storage == Storage::kSequence && d_.sequences[static_cast<size_t>(out.index)].written);
    expect(written || !needs, "no instruction up to the end of the body writes the slot of a new state");
  }
  check_list(d_.after, Phase::kAfter);
  check_uses();
  for (std::vector<Instruction>* list : {&d_.once, &d_.before, &d_.body, &d_.after}) fuse_pairs(*list);

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
    if (d_.slots[k].storage == Storage::kState && d_.states[static_cast<size_t>(d_.slots[k].index)].kept) kept_.push_back(static_cast<int>(k));
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
    expect(s.storage >= Storage::kTemp && s.storage <= Storage::kScratch, "a slot's storage is out of range");
    expect(fits(0, s.size, kMostElements), "a slot's size is out of range");
    if (s.storage == Storage::kSequence) {
      expect(in(s.index, d_.sequences.size()), "a slot's sequence is out of range");
      ptrdiff_t& size = d_.sequences[static_cast<size_t>(s.index)].size;
      expect(size == -1 || size == s.size, "slots of one sequence have different sizes");
      size = s.size;
    }
    if (s.storage == Storage::kState) {
      expect(in(s.index, d_.states.size()), "a slot's state is out of range");
      expect(d_.states[static_cast<size_t>(s.index)].size == s.size, "a slot of a state and the state have different sizes");
    }
    if (s.storage == Storage::kConstant) {
      expect(in(s.index, d_.constants.size()), "a slot's constant is out of range");
      expect(d_.constants[static_cast<size_t>(s.index)] == s.size, "a slot of a constant and the constant have different sizes");
    }
  }
  for (const SequenceOf& s : d_.sequences) expect(s.size >= 0 || !s.written, "a written sequence has no slot");
  for (const StateOf& s : d_.states) {
    const Slot& out = slot(s.out_slot);
    expect(out.storage != Storage::kScratch, "a new state is in scratch memory");
    expect(fits(s.out_offset, s.size, out.size), "a new state does not fit its slot");
  }
}

// If a step's new state is another state, or part of one, it is copied to a slot of its own: the next step overwrites the other state.
void OwnedProgram::own_states() {
  for (size_t k = 0; k < d_.states.size(); ++k) {
    StateOf& state = d_.states[k];
    state.out_slot = canonical_slot(state.out_slot);
    const Slot from = slot(state.out_slot);
    if (from.storage != Storage::kState) continue;
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
    d_.slots.push_back({Storage::kTemp, 0, state.size});
    d_.body.push_back(copy);
  }
}

// The first of the slots that refer to the same sequence, so that slots with different indices never share memory.
int OwnedProgram::canonical_slot(int index) const {
  const auto same = [&](const Slot& s) { return s.storage == Storage::kSequence && s.index == slot(index).index; };
  if (slot(index).storage != Storage::kSequence) return index;
  return static_cast<int>(std::find_if(d_.slots.begin(), d_.slots.end(), same) - d_.slots.begin());
}

void OwnedProgram::check_list(std::vector<Instruction>& list, Phase phase) {
  for (size_t k = 0; k < d_.slots.size(); ++k) {
    if (d_.slots[k].storage == Storage::kScratch) written_[k] = false;  // its contents are undefined after the list
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
    i.out.index = canonical_slot(i.out.index);
    for (int k = 0; k < i.inputs; ++k) {
      if (i.in[k].where == Where::kSlot) i.in[k].index = canonical_slot(i.in[k].index);
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
  const Storage storage = slot(o.index).storage;
  const bool later = phase == Phase::kBody || phase == Phase::kAfter, once = phase == Phase::kOnce;
  const bool memory = storage == Storage::kTemp || storage == Storage::kOnce || storage == Storage::kScratch;
  expect(!(once && (storage == Storage::kTemp || storage == Storage::kSequence)) && (later || storage != Storage::kState),
         "an instruction reads a slot that does not exist when its list runs");
  expect(!memory || written_[static_cast<size_t>(o.index)], "an instruction reads a slot that no instruction before it writes");
}

void OwnedProgram::check_output(const Operand& o, Phase phase) const {
  expect(o.where == Where::kSlot && in(o.index, d_.slots.size()), "an output's slot is out of range");
  const Slot& s = slot(o.index);
  const bool once = phase == Phase::kOnce;
  const bool writable = s.storage == Storage::kScratch || (once ? s.storage == Storage::kOnce : s.storage == Storage::kTemp) ||
                        (!once && s.storage == Storage::kSequence && d_.sequences[static_cast<size_t>(s.index)].written);
  expect(writable, "an instruction writes a slot that its list may only read");
}

// Checks that every element is within the slot; of a weight, records the size it must have.
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

// Checks sums and accumulators, and marks the states that they or the list `after` read: these must be kept after the step.
void OwnedProgram::check_uses() {
  const auto use = [&](int index, ptrdiff_t offset, ptrdiff_t size) {
    expect(in(index, d_.slots.size()) && fits(offset, size, slot(index).size), "a sum reaches beyond its slot");
    const Storage storage = slot(index).storage;
    expect(storage != Storage::kScratch && (storage == Storage::kState || storage == Storage::kSequence || storage == Storage::kConstant || written_[static_cast<size_t>(index)]),
           "a sum reads a slot that no instruction writes");
    if (storage == Storage::kState) d_.states[static_cast<size_t>(slot(index).index)].kept = true;
  };
  for (const Instruction& i : d_.after) {
    for (int k = 0; k < i.inputs; ++k) {
      if (i.in[k].where == Where::kSlot && slot(i.in[k].index).storage == Storage::kState) d_.states[static_cast<size_t>(slot(i.in[k].index).index)].kept = true;
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
    for (const SumOf& other : d_.sums) {  // threads divide a target by its rows, which must be the same for all its sums
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

// Liveness: whether no instruction from `from` on reads the slot's contents before one overwrites all of them.
bool OwnedProgram::dead_from(const std::vector<Instruction>& list, size_t from, int index) const {
  const auto is = [&](const Operand& o) { return o.where == Where::kSlot && o.index == index; };
  for (size_t k = from; k < list.size(); ++k) {
    const Instruction& i = list[k];
    if (std::any_of(i.in, i.in + i.inputs, is)) return false;
    if (is(i.out)) return is_elementwise(i.code) && i.out.whole;
  }
  return slot(index).storage == Storage::kScratch;
}

// Fuses an addition, subtraction or multiplication with the next instruction if that is one too, or a multiplication with the sum of its
// elements, if the next instruction alone reads the result.
void OwnedProgram::fuse_pairs(std::vector<Instruction>& list) const {
  const auto simple = [](const Instruction& i) {
    return i.form == Form::kRuns && (i.code == Code::add || i.code == Code::sub || i.code == Code::mul);
  };
  const auto same = [](const Operand& a, const Operand& b) { return b.where == Where::kSlot && a.index == b.index && a.offset == b.offset && !b.scalar; };
  const auto is_sum_of = [&](const Instruction& b, const Instruction& a) {
    return b.code == Code::sum && b.form == Form::kInner && b.dims == 2 && b.shape[0] == 1 && b.shape[1] == a.shape[0] && same(a.out, b.in[0]);
  };
  std::vector<Instruction> joined;
  for (size_t k = 0; k < list.size(); ++k) {
    const Instruction& a = list[k];
    joined.push_back(a);
    if (k + 1 == list.size() || !simple(a)) continue;
    const Instruction& b = list[k + 1];
    Instruction& pair = joined.back();
    if (a.code == Code::mul && !a.in[0].scalar && !a.in[1].scalar && is_sum_of(b, a) && dead_from(list, k + 2, a.out.index) && a.out.index != b.out.index) {
      pair.code = Code::mul_sum;
      pair.out = b.out;
      pair.flat = false;
      ++k;
      continue;
    }
    if (!simple(b)) continue;
    const int left = same(a.out, b.in[0]), right = same(a.out, b.in[1]);
    const bool replaced = same(a.out, b.out);
    if (a.shape[0] != b.shape[0] || left + right != 1 || !(replaced || dead_from(list, k + 2, a.out.index))) continue;
    const Operand& other = b.in[left];
    if (other.where == Where::kSlot && other.index == a.out.index) continue;
    const auto apart = [&](const Operand& o) {  // the fused output either equals an input exactly or does not overlap it
      return o.where != Where::kSlot || o.index != b.out.index || same(o, b.out);
    };
    if (!apart(a.in[0]) || !apart(a.in[1])) continue;
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
  const auto moves = [&](int k) { return slot(k).storage != Storage::kScratch; };
  out.moving = static_cast<int>(std::stable_partition(memory.slots.begin(), memory.slots.end(), moves) - memory.slots.begin());
  out.segments = memory.segments.data();
  out.segment_count = static_cast<int>(memory.segments.size());
  out.slots = memory.slots.data();
  out.row_size = size_of(memory.slots);
  return out;
}

}  // namespace tgr
