// A kernel as program.py has decoded it, and the program that is made of it.
#pragma once

#include <cstdint>
#include <memory>

#include "program.h"

namespace emulator {

constexpr int kColumns = 11;  // see program.py

// See emulator.py. Pairs are two numbers after each other.
struct Decoded {
  const char* name;
  const char* const* forms;
  int64_t n_forms;
  const char* const* sources;
  int64_t n_sources;
  const int64_t* code;  // rows of kColumns + kOperands
  int64_t n_code;
  const uint64_t* constants;  // pairs: register, value
  int64_t n_constants;
  const int64_t* predicate_constants;  // pairs: predicate, value
  int64_t n_predicate_constants;
  const int64_t* specials;  // pairs: register, which
  int64_t n_specials;
  const int64_t* params;  // pairs: offset, bytes
  int64_t n_params;
  const char* const* shared_names;
  const int64_t* shared;  // pairs: begin, end
  int64_t n_shared;
  int64_t n_data, n_predicates, param_bytes, shared_bytes, max_threads, exact_threads;
};

// Throws Fault for an instruction that the emulator does not know, or a kernel that ptxas would not take.
std::unique_ptr<Kernel> load(const Decoded& decoded);

}  // namespace emulator
