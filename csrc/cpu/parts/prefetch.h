// Memory that the hardware's prefetcher cannot guess is asked for some time before it is read.
#pragma once

#include <cstdint>

namespace magnet {

// How many planes ahead, where a few hundred bytes of each are read: its prefetcher has just begun where they end.
constexpr int64_t kPlanesAhead = 3;

// Into L2, line by line, from the one that holds the first byte to the one that holds the last. Addresses need not be
// mapped.
inline void prefetch(const void* from, int64_t bytes) {
  const char* first = static_cast<const char*>(from);
  const char* line = first - reinterpret_cast<uintptr_t>(first) % 64;
  for (; line < first + bytes; line += 64) __builtin_prefetch(line, 0, 2);
}

}  // namespace magnet
