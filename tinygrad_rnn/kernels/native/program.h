// A loop program: the computation of a step as lists of instructions over slots. Plain data, the same for every instruction set; checked and
// completed once by OwnedProgram (build.h).
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
// Two fused operations: add_mul is (a + b) c, mul_rsub is c - a b. Both are rounded, as two separate instructions would be.
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
  mul_sum,  // a multiplication and the sum of its result, fused: no instruction that Python passes
#undef TGR_PAIR_ENUMERATOR
#undef TGR_ENUMERATOR
};
constexpr bool is_unary(Code c) { return c <= Code::logical_not; }
constexpr bool is_binary(Code c) { return c > Code::logical_not && c <= Code::logical_xor; }
constexpr bool is_elementwise(Code c) { return c <= Code::mul_mul; }
constexpr bool is_reduction(Code c) { return c >= Code::sum && c <= Code::all; }

constexpr int kMostDims = 6;  // one more than Python may pass: completing a reduction can add one of size 1

// A slot: one value of the step, of which each row has `size` elements.
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
  bool scalar = false;  // elementwise: one element, used for all of the last dimension
  bool whole = false;   // contiguous up to the end of a padded row; elementwise: the whole row
};
// This header is compiled with the flags of several instruction sets. always_inline: otherwise the linker would keep one copy for all.
template <class T> [[gnu::always_inline]] inline const T* number(const Operand& o) {
  if constexpr (sizeof(T) == sizeof(float)) return &o.f32;
  else return &o.f64;
}

// How an instruction accesses its elements.
enum class Form : int {
  kRuns,     // elementwise: one dimension, contiguous elements or a scalar
  kStrided,  // elementwise: anything else
  kInner,    // reduction: the last reduced dimension is contiguous; rowproduct: k is, in A and B
  kOuter,    // reduction: the last kept dimension is contiguous; rowproduct: n is, in B and C
  kAny,      // reduction, rowproduct: element by element
};

struct Instruction {
  Code code{};
  Form form{};
  int dims = 0, inputs = 0;
  ptrdiff_t shape[kMostDims] = {};
  Operand out, in[3];
  int reduced = 0;             // reduction: the number of reduced dimensions, which are the last ones
  bool transposed = false, accumulate = false, flat = false;  // flat: elementwise, rows and their padding can be processed as one
  int matrix = -1, start = -1;  // product: indices of its Matrix and its Bias, or -1
};

// The instructions of one list, divided into segments: a segment is one product, or the instructions between two products.
struct Segment {
  int first, last;
  bool product;
  ptrdiff_t row_size;  // elements per row of all slots it uses
};
struct List {
  const Instruction* instructions = nullptr;
  int count = 0;
  const Segment* segments = nullptr;
  int segment_count = 0;
  const int* slots = nullptr;  // all slots used; the first `moving` have other rows in every block (all but scratch)
  int moving = 0;
  ptrdiff_t row_size = 0;
  bool products = false;
};

struct SequenceOf {
  bool packed, written;
  int shifted;     // -1, or the index of the initial row in `initials`: step s reads the row of step s - 1
  ptrdiff_t size;  // of a row; -1 if no slot refers to it
};
struct StateOf {
  int out_slot;
  ptrdiff_t out_offset, size;
  bool kept = false;   // also read after the step
  bool fixed = false;  // a step returns it unchanged
};
struct SumOf {
  int target, left, right;  // slots; left is -1 for a plain sum of the rows of `right`
  ptrdiff_t left_offset, left_size, right_offset, right_size, multiple;
};
struct AccumulatorOf {
  int slot;  // -1: only outer products are added to it
  ptrdiff_t offset, size;
};
// The outer product of two contiguous parts of a row, added to an accumulator.
struct OuterOf {
  int accumulator, left, right;
  ptrdiff_t left_offset, left_size, right_offset, right_size;
};

// A right operand of products: K x N as it is used; its stored rows are `row` elements apart.
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
  Span<ptrdiff_t> weights;  // the minimum number of elements of each
  Span<ptrdiff_t> targets;  // the number of elements of each; -1: unused
  Span<int> summed;         // the slots that sums read
  Span<int> kept;           // the slots of states that are also read after the step
  int initials = 0;         // the number of arrays of initial rows
  double row_operations = 0, once_operations = 0;  // floating point operations per row
};

// One run of a program. A null pointer means zeros for an input, and that an output (final) is not needed.
template <class T> struct LoopCall {
  ptrdiff_t B = 0, T_ = 0;
  Schedule schedule;
  bool reverse = false, backward = false;
  const Sequence<T>* sequences = nullptr;  // packed: rows are `row` elements apart
  const T *const *initial = nullptr, *const *constants = nullptr, *const *weights = nullptr, *const *initials = nullptr;
  T *const *final = nullptr, *const *targets = nullptr, *const *accumulated = nullptr;
  [[gnu::always_inline]] ptrdiff_t time(ptrdiff_t rank, ptrdiff_t s) const { return reverse ? schedule.length[rank] - 1 - s : s; }
};

}  // namespace tgr
