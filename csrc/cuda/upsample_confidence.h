// upsample_confidence: a map made larger, and the confidence of the larger map.
#pragma once

#include "cuda/parts/launch.h"

namespace magnet::cuda {

// coarse: (N, C, h, w), C >= 2, not empty, of any type and strides. upsampled: (N, C, H, W) of that type and any
// strides, made from coarse bilinearly (align_corners=False), any sizes. confidence: (N, 1, H, W) without gaps.
void upsample_confidence(const Map& coarse, const Map& upsampled, bool from_logits, float* confidence,
                         const Stream& stream);

}  // namespace magnet::cuda
