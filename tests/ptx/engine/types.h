// Types of instructions under the names that PTX gives them, and the table of forms that isa_*.cpp fill.
#pragma once

#include <cstring>
#include <string>
#include <unordered_map>

#include "memory.h"

namespace emulator {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using s8 = int8_t;
using s16 = int16_t;
using s32 = int32_t;
using s64 = int64_t;
using b8 = uint8_t;
using b16 = uint16_t;
using b32 = uint32_t;
using b64 = uint64_t;
using f32 = float;
using f64 = double;

using Table = std::unordered_map<std::string, Form>;
void add_integers(Table& t);
void add_predicates(Table& t);
void add_floats(Table& t);
void add_conversions(Table& t);
void add_memory(Table& t);
void add_collectives(Table& t);

}  // namespace emulator
