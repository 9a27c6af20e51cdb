// The median of a square window: the entry point for other operators.
#pragma once

#include <cstdint>

namespace magnet {

// Rows [y0, y1) of the zero-padded median of a dense fp32 plane of h x w, into the same rows of dst (a whole plane, no
// overlap with src). Reads rows y0 - k/2 to y1 - 1 + k/2, those inside the plane. kernel_size odd, 1 to 15.
// Single threaded, callable from any thread.
void median_blur_rows(const float* src, float* dst, int64_t h, int64_t w, int kernel_size, int64_t y0, int64_t y1);

}  // namespace magnet
