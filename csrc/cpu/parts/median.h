// The median of a square window, zero padded: of rows, for the operators that need it.
#pragma once

#include <cstdint>

#include "common/element.h"

namespace magnet {

// One image and channel; strides in elements.
struct MedianPlane {
  const void* src;
  int64_t src_sy, src_sx;
  void* dst;
  int64_t dst_sy, dst_sx;
  int64_t h, w;
};

// Rows [y0, y1) of the zero-padded median of a plane, which does not overlap with its result. Reads rows y0 - k/2 to
// y1 - 1 + k/2, those inside the plane. kernel_size odd, 1 to 15. Single threaded, callable from any thread.
void median_blur_rows(Element type, const MedianPlane& plane, int kernel_size, int64_t y0, int64_t y1);

// The same for 13 x 13 and 15 x 15 alone.
void median_blur_rows_from_13(Element type, const MedianPlane& plane, int kernel_size, int64_t y0, int64_t y1);

}  // namespace magnet
