#pragma once

#include "state.h"

namespace emulator {

constexpr int64_t kMostShared = 227 << 10;       // of a block, on sm_90
constexpr int64_t kMostStaticShared = 48 << 10;  // what ptxas takes

// Runs a launch to its end; throws Fault.
void run(Launch& launch);
const Statistics& counted();

}  // namespace emulator
