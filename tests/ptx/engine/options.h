// What a launch is told and what is counted: the engine, the stand-in for the CUDA runtime and emulator.py share these.
#pragma once

#include <cstdint>

namespace emulator {

struct Options {
  uint64_t seed = 0;
  int32_t resident = 4;    // blocks that run at once
  int32_t shuffle = 1;     // blocks start in a random order
  int32_t divergence = 8;  // of 256: how often any group of a warp's lanes runs, not the one furthest behind
  int32_t quantum = 64;    // stretches of straight code that a warp runs at a time, at most
  int32_t races = 1;       // 1: races in shared memory and reads of what was never written there; 2: global memory, too
  int32_t same_values = 0;      // 1: threads may write the same value to one place, with no order (Triton's layouts do)
  int32_t approximate = 0;      // 1: ex2.approx, rcp.approx and div.full err as much as the manual lets them
  int32_t most_pauses = 50000;  // of a warp that asks for what another block has not done
  int64_t most_steps = 1000000000;  // instructions of a warp, in a launch
};

struct Statistics {
  int64_t launches = 0, warp_instructions = 0, lane_instructions = 0, divergent_branches = 0, barriers = 0,
          collectives = 0, split_collectives = 0, pauses = 0;
};

}  // namespace emulator
