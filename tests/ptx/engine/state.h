// A launch while it runs: its blocks, their warps, and the lanes' registers.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "options.h"
#include "program.h"
#include "races.h"

namespace emulator {

// What a kernel did wrong, or what the emulator does not know.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Block;

struct Launch {
  const Kernel* kernel;
  int grid[3], block[3];
  int threads;  // of a block
  int64_t shared_bytes;
  const uint8_t* params;
  Options options;
  std::mt19937_64 random;
  Clocks clocks;
};

enum class State : int8_t { ready, barrier, collective };

struct Group {  // lanes of a warp with one program counter
  uint32_t lanes;
  int32_t pc;
  State state;
  uint32_t mask;  // of the collective that it waits in
};

struct Warp {
  Launch* launch;
  Block* block;
  int index;
  uint64_t* data;        // [register][lane]
  uint32_t* predicates;  // [register], a bit a lane
  uint32_t alive;
  std::vector<Group> groups;
  LaneClocks order;
  int32_t pauses = 0;
  bool queued = false;
};

struct Block {
  Launch* launch;
  int64_t index;
  std::vector<Warp> warps;
  std::vector<uint8_t> shared;
  Shadow shadow;  // of shared memory; kept for the next block
  BlockClock clock;
  int alive = 0, arrived = 0;
  std::vector<uint64_t> data;
  std::vector<uint32_t> predicates;
};

extern bool approximate;  // Options::approximate of the launch that runs

// Throws a Fault that says what happened, and where.
[[noreturn]] void fail(const Warp& w, const Instr& i, int lane, const std::string& what);
std::string source_of(const Kernel& kernel, const Instr& i);
std::string hex(uint64_t x);

// --- lanes and registers

template <class F>
inline void each(uint32_t lanes, F f) {
  if (lanes == 0xffffffffu) {
#pragma GCC ivdep  // where f reads and writes one register, it is the same lane's
    for (int lane = 0; lane < 32; ++lane) f(lane);
  } else {
    for (; lanes; lanes &= lanes - 1) f(__builtin_ctz(lanes));
  }
}
template <class T>
inline T get(const Warp& w, int slot, int lane) {
  T value;
  std::memcpy(&value, w.data + int64_t{slot} * 32 + lane, sizeof(T));
  return value;
}
template <class T>
inline void set(Warp& w, int slot, int lane, T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  w.data[int64_t{slot} * 32 + lane] = bits;
}
inline bool test(const Warp& w, int slot, int lane) { return w.predicates[slot] >> lane & 1; }
inline void put(Warp& w, int slot, uint32_t lanes, uint32_t values) {
  w.predicates[slot] = (w.predicates[slot] & ~lanes) | (values & lanes);
}

}  // namespace emulator
