// Boxes on their way to kernels. Needs neither CUDA nor torch.
#pragma once

#include <cstdint>
#include <vector>

#include "common/boxes.h"

namespace magnet::cuda {

// A box in whole pixels, as small as it gets: coordinates are below 2^24.
struct Rect {
  int32_t image, x0, y0, x1, y1;

  MAGNET_HOST_DEVICE bool empty() const { return x0 >= x1 || y0 >= y1; }
  MAGNET_HOST_DEVICE bool contains(int32_t y, int32_t x) const { return y >= y0 && y < y1 && x >= x0 && x < x1; }
  MAGNET_HOST_DEVICE bool touches(const Rect& other) const {
    return image == other.image && !empty() && x0 < other.x1 && other.x0 < x1 && y0 < other.y1 && other.y0 < y1;
  }
};

inline Rect rect(const PixelBox& box) {
  return {static_cast<int32_t>(box.image), static_cast<int32_t>(box.x0), static_cast<int32_t>(box.y0),
          static_cast<int32_t>(box.x1), static_cast<int32_t>(box.y1)};
}

// So many travel with the launch, as an argument of the kernel; more need device memory.
constexpr int kFewRects = 96;
inline int64_t rect_bytes(int64_t count) { return count <= kFewRects ? 0 : count * static_cast<int64_t>(sizeof(Rect)); }

}  // namespace magnet::cuda
