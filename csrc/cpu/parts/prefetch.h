// Memory that the hardware's prefetcher cannot guess is asked for some time before it is read.
#pragma once

#include <cstdint>

namespace magnet {

// How many planes ahead, where a few hundred bytes of each are read: its prefetcher has just begun where they end.
constexpr int64_t kPlanesAhead = 3;

// Into L2, line by line. Addresses need not be mapped.
inline void prefetch(const void* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(from) + i, 0, 2);
}

}  // namespace magnet
