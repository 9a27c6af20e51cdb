// confidence: top-1 minus top-2 class probability.
#pragma once

#include "cuda/parts/launch.h"

namespace magnet::cuda {

// x: (N, C, H, W), C >= 2, of any type and strides. out: (N, 1, H, W) without gaps.
void confidence(const Map& x, bool from_logits, float* out, const Stream& stream);

}  // namespace magnet::cuda
