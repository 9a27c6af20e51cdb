// Memory of the device and of blocks: every access is checked for bounds, alignment and races.
#pragma once

#include <cstdint>

#include "state.h"

namespace emulator {

// Where an access of a lane goes, or a fault. `value`: what will be written.
uint8_t* global_at(Warp& w, const Instr& i, int lane, uint64_t address, int bytes, Access access,
                   const void* value = nullptr);
uint8_t* shared_at(Warp& w, const Instr& i, int lane, uint64_t address, int bytes, Access access,
                   const void* value = nullptr);
const uint8_t* param_at(Warp& w, const Instr& i, int lane, uint64_t address, int bytes);
// After an instruction that may have written strongly.
void after_strong_write(Warp& w);

// The device's memory, which kernels may access.
void register_memory(uint64_t begin, uint64_t bytes);
void forget_memory(uint64_t begin);
bool is_registered(uint64_t address);

}  // namespace emulator
