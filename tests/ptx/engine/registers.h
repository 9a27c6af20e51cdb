#pragma once

#include <cstdint>
#include <vector>

#include "program.h"

namespace emulator {

// Renumbers the data registers of a kernel so that those which are never in use at the same time are one: compilers
// name thousands, few are in use, and what is not in the processor's cache is slow. Of each instruction: which operands
// are data registers that it writes and reads, a bit each. Marks those that it writes in vain, too.
void share_registers(Kernel& kernel, const std::vector<uint32_t>& written, const std::vector<uint32_t>& read);

}  // namespace emulator
