// The element types of maps, as plain bits: the CPU kernels convert to and from float where they load and store.
#pragma once

#include <cstdint>

namespace magnet {

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

}  // namespace magnet
