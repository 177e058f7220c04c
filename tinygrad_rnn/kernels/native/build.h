// Builds a checked Program from the description of a loop that Python passes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "program.h"

namespace tgr {

struct Description {
  bool f64 = false;
  std::vector<Slot> slots;
  std::vector<Instruction> once, before, body, after;  // only shape, operands, reduced, transposed and accumulate are set
  std::vector<SequenceOf> sequences;
  std::vector<StateOf> states;
  std::vector<ptrdiff_t> constants;
  std::vector<SumOf> sums;
  std::vector<AccumulatorOf> accumulators;
  std::vector<OuterOf> outers;
};

// The code of an instruction's name. Throws std::invalid_argument if there is none.
Code code_named(const std::string& name);

// A program that owns its memory. Throws std::invalid_argument for a description that a run could not execute safely.
class OwnedProgram {
 public:
  explicit OwnedProgram(Description description);
  Program view;

 private:
  enum class Phase { kOnce, kBefore, kBody, kAfter };
  struct ListMemory {
    std::vector<Segment> segments;
    std::vector<int> slots;
  };
  void check_tables();
  int canonical_slot(int index) const;
  void own_states();
  void check_list(std::vector<Instruction>& list, Phase phase);
  void check_reads(const Operand& o, Phase phase) const;
  void check_output(const Operand& o, Phase phase) const;
  void check_range(const Operand& o, const ptrdiff_t* shape, int dims);
  bool complete(Instruction& i);  // false: it has no effect and can be dropped
  void complete_elementwise(Instruction& i) const;
  bool complete_reduction(Instruction& i);
  void complete_product(Instruction& i);
  bool complete_rowproduct(Instruction& i);
  void check_uses();
  bool dead_from(const std::vector<Instruction>& list, size_t from, int index) const;
  void fuse_pairs(std::vector<Instruction>& list) const;
  double operations(const std::vector<Instruction>& list) const;
  List finish_list(const std::vector<Instruction>& list, ListMemory& memory) const;
  const Slot& slot(int k) const { return d_.slots[static_cast<size_t>(k)]; }

  Description d_;
  ListMemory memory_[4];
  std::vector<Matrix> matrices_;
  std::vector<Bias> biases_;
  std::vector<ptrdiff_t> weights_, targets_;
  std::vector<int> summed_, kept_;
  std::vector<bool> written_;  // by slot: whether an instruction checked so far writes it
};

}  // namespace tgr
