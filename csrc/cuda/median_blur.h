// The median of a square window on CUDA.
#pragma once

#include "cuda/parts/launch.h"

namespace magnet::cuda {

// The zero-padded median of kernel_size x kernel_size, odd, 1 to 15, of every plane of x into out: one shape and type,
// any strides, no overlap.
void median_blur(const Map& x, const Map& out, int kernel_size, const Stream& stream);

}  // namespace magnet::cuda
