// A kernel as it is run: instructions whose forms have been looked up.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace emulator {

struct Warp;
struct Instr;
struct Shadow;

// Lanes of a warp that have come to the same collective instruction, perhaps at several places of the program.
struct Part {
  const Instr* instr;
  uint32_t lanes;
};

using Handler = void (*)(Warp&, const Instr&, uint32_t lanes);
using Collective = void (*)(Warp&, const Part* parts, int count, uint32_t lanes);
enum class Kind : int8_t { plain, branch, exit, barrier, collective, pause };
enum class Joins : int8_t { nothing, any, all, count };  // what a barrier makes of its threads' predicates

// An instruction form such as "add.s32" or "shfl.sync.idx.b32|p".
struct Form {
  Kind kind = Kind::plain;
  Handler run = nullptr;
  Collective together = nullptr;
  int mask_operand = -1;  // of a collective: which operand is the member mask, counted from the last; 0: a full warp
  Joins joins = Joins::nothing;
};
const Form& find_form(const std::string& name);  // throws Fault where there is none
int operands_of(const std::string& name);        // -1: any number

constexpr int kOperands = 16;

struct Instr {
  Handler run;
  Collective together;
  Kind kind;
  Joins joins;
  bool negated, leader;  // leader: branches come here
  int16_t mask_operand;
  int32_t guard, target, line, form, index, count, source;
  int64_t offset;
  int32_t operand[kOperands];
  uint32_t unused = 0;  // of several operands that it writes those that are not read afterwards, a bit each
  // The allocation that was accessed last.
  mutable uint64_t low = 1, high = 0;
  mutable Shadow* shadow = nullptr;
};

// A variable in shared memory.
struct Variable {
  std::string name;
  int64_t begin, end;  // end = begin: as long as the launch says
};

struct Kernel {
  std::string name;  // as a reader knows it
  std::vector<std::string> forms, sources;
  std::vector<Instr> code;
  int n_data = 0, n_predicates = 0;
  int64_t param_bytes = 0, shared_bytes = 0, gap_bytes = 0;  // shared_bytes: with the gaps between variables
  int max_threads = 0, exact_threads = 0;                    // .maxntid and .reqntid; 0: none
  std::vector<std::pair<int, uint64_t>> constants;
  std::vector<std::pair<int, int>> predicate_constants, specials;
  std::vector<std::pair<int64_t, int64_t>> params;  // offset, bytes
  std::vector<Variable> shared;
};

}  // namespace emulator
