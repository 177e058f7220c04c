// A loop program: what a step does, as a list of instructions over slots. Plain data, checked and completed once by build(), the same for
// every instruction set.
#pragma once

#include "problem.h"

namespace tgr {

#define TGR_UNARY(X)                                                                                                                         \
  X(copy) X(neg) X(abs) X(sign) X(exp) X(exp2) X(expm1) X(log) X(log2) X(log10) X(log1p) X(sqrt) X(square) X(reciprocal) X(sin) X(cos)       \
  X(tan) X(sinh) X(cosh) X(tanh) X(arcsin) X(arccos) X(arctan) X(arcsinh) X(arccosh) X(arctanh) X(sigmoid) X(softplus) X(relu) X(gelu)       \
  X(erf) X(floor) X(ceil) X(trunc) X(rint) X(isnan) X(isinf) X(isfinite) X(logical_not)
#define TGR_BINARY(X)                                                                                                                        \
  X(add) X(sub) X(mul) X(div) X(pow) X(remainder) X(floor_divide) X(maximum) X(minimum) X(fmax) X(fmin) X(arctan2) X(hypot) X(logaddexp)     \
  X(logaddexp2) X(copysign) X(gt) X(ge) X(lt) X(le) X(eq) X(ne) X(logical_and) X(logical_or) X(logical_xor)
#define TGR_TERNARY(X) X(where)
// One operation on the result of another: add_mul is (a + b) c, mul_rsub is c - a b, rounded twice as the two would be.
#define TGR_PAIRS(X)                                                                                                                         \
  X(add, add) X(add, sub) X(add, rsub) X(add, mul) X(sub, add) X(sub, sub) X(sub, rsub) X(sub, mul) X(mul, add) X(mul, sub) X(mul, rsub)    \
  X(mul, mul)
#define TGR_REDUCTIONS(X) X(sum) X(prod) X(max) X(min) X(any) X(all)
#define TGR_PRODUCTS(X) X(product) X(rowproduct)
#define TGR_FIRST_CODES(X) TGR_UNARY(X) TGR_BINARY(X) TGR_TERNARY(X)
#define TGR_LAST_CODES(X) TGR_REDUCTIONS(X) TGR_PRODUCTS(X)

enum class Code : int {
#define TGR_ENUMERATOR(name) name,
#define TGR_PAIR_ENUMERATOR(first, second) first##_##second,
  TGR_FIRST_CODES(TGR_ENUMERATOR) TGR_PAIRS(TGR_PAIR_ENUMERATOR) TGR_LAST_CODES(TGR_ENUMERATOR)
#undef TGR_PAIR_ENUMERATOR
#undef TGR_ENUMERATOR
};
constexpr bool is_unary(Code c) { return c <= Code::logical_not; }
constexpr bool is_binary(Code c) { return c > Code::logical_not && c <= Code::logical_xor; }
constexpr bool is_elementwise(Code c) { return c <= Code::mul_mul; }
constexpr bool is_reduction(Code c) { return c >= Code::sum && c <= Code::all; }

constexpr int kMostDims = 6;  // one more than an instruction may come with: a reduction gets one of size 1

// What one row holds of one value.
enum class Storage : int { kTemp, kSequence, kState, kConstant, kOnce, kScratch };
struct Slot {
  Storage storage;
  int index;  // of the sequence, state or constant
  ptrdiff_t size;
};

// Element (i0, i1, ...) of an operand is at offset + sum of i_d stride[d] of a slot's row or of a weight; or it is a number.
enum class Where : int { kSlot, kWeight, kNumber };
struct Operand {
  Where where = Where::kNumber;
  int index = 0;
  ptrdiff_t offset = 0, stride[kMostDims] = {};
  double f64 = 0;
  float f32 = 0;
  bool scalar = false;  // elementwise: one element for all of the last dimension
  bool whole = false;   // to the end of a row that has padding after it, in order; elementwise: all of the row
};
// Functions here are compiled with the flags of several instruction sets: always_inline, so that the linker never chooses among copies.
template <class T> [[gnu::always_inline]] inline const T* number(const Operand& o) {
  if constexpr (sizeof(T) == sizeof(float)) return &o.f32;
  else return &o.f64;
}

// How an instruction finds its elements.
enum class Form : int {
  kRuns,     // elementwise: one dimension, elements side by side or all the same
  kStrided,  // elementwise: anything else
  kInner,    // reduction: the last reduced dimension is side by side; rowproduct: k is, in both
  kOuter,    // reduction: the last kept dimension is side by side; rowproduct: n is, in B and C
  kAny,      // reduction, rowproduct: element by element
};

struct Instruction {
  Code code{};
  Form form{};
  int dims = 0, inputs = 0;
  ptrdiff_t shape[kMostDims] = {};
  Operand out, in[3];
  int reduced = 0;             // reduction: how many of the dimensions, the last ones
  bool transposed = false, accumulate = false, flat = false;  // flat: elementwise, rows and their padding can be one run
  int matrix = -1, start = -1;  // product: of the packed weights
};

// The instructions of one list, cut into products and what lies between them, and the slots they use.
struct Segment {
  int first, last;
  bool product;
  ptrdiff_t row_size;  // elements of all slots used, of one row
};
struct List {
  const Instruction* instructions = nullptr;
  int count = 0;
  const Segment* segments = nullptr;
  int segment_count = 0;
  const int* slots = nullptr;  // first those whose rows lie elsewhere for every block: all but scratch
  int moving = 0;
  ptrdiff_t row_size = 0;
  bool products = false;
};

struct SequenceOf {
  bool packed, written;
  int shifted;     // -1, or which of `initials` holds the row before the first
  ptrdiff_t size;  // of a row; -1 if no slot names it
};
struct StateOf {
  int out_slot;
  ptrdiff_t out_offset, size;
  bool kept = false;   // read after the step, too
  bool fixed = false;  // no step changes it
};
struct SumOf {
  int target, left, right;  // left: -1 for a sum of rows
  ptrdiff_t left_offset, left_size, right_offset, right_size, multiple;
};
struct AccumulatorOf {
  int slot;  // -1: outer products alone add to it
  ptrdiff_t offset, size;
};
// The outer product of two runs of a row, added to an accumulator.
struct OuterOf {
  int accumulator, left, right;
  ptrdiff_t left_offset, left_size, right_offset, right_size;
};

// A right operand of products, K x N where it is used; `row` apart are the rows it is stored in.
struct Matrix {
  int weight;
  ptrdiff_t offset, row, K, N;
  bool transposed;
};
struct Bias {
  int weight;
  ptrdiff_t offset, N;
};

template <class X> struct Span {
  const X* data = nullptr;
  int count = 0;
  [[gnu::always_inline]] const X& operator[](int k) const { return data[k]; }
  [[gnu::always_inline]] const X* begin() const { return data; }
  [[gnu::always_inline]] const X* end() const { return data + count; }
};

struct Program {
  size_t element = 4;  // bytes of an element
  Span<Slot> slots;
  List once, before, body, after;
  Span<SequenceOf> sequences;
  Span<StateOf> states;
  Span<ptrdiff_t> constants;
  Span<SumOf> sums;
  Span<AccumulatorOf> accumulators;
  Span<OuterOf> outers;
  Span<Matrix> matrices;
  Span<Bias> biases;
  Span<ptrdiff_t> weights;  // the elements each must have at least
  Span<ptrdiff_t> targets;  // their elements
  Span<int> summed;         // the slots that sums read
  Span<int> kept;           // the slots of states that are read after the step, too
  int initials = 0;         // how many
  double row_operations = 0, once_operations = 0;  // of one row
};

// One run of a program. Null: zeros for what is read, nothing for what is written (final).
template <class T> struct LoopCall {
  ptrdiff_t B = 0, T_ = 0;
  Schedule schedule;
  bool reverse = false, backward = false;
  const Sequence<T>* sequences = nullptr;  // packed: a row is `row` apart from the next
  const T *const *initial = nullptr, *const *constants = nullptr, *const *weights = nullptr, *const *initials = nullptr;
  T *const *final = nullptr, *const *targets = nullptr, *const *accumulated = nullptr;
  [[gnu::always_inline]] ptrdiff_t time(ptrdiff_t rank, ptrdiff_t s) const { return reverse ? schedule.length[rank] - 1 - s : s; }
};

}  // namespace tgr
