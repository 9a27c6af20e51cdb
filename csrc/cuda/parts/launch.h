// What the host side of every CUDA operator passes around. Needs neither CUDA nor torch.
#pragma once

#include <cstdint>

#include "common/map.h"

namespace magnet {

// A CUDA stream and the device it belongs to, which must be the current one.
struct Stream {
  void* handle = nullptr;
  int device = 0;
};

}  // namespace magnet
