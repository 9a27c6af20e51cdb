// Across the classes of consecutive pixels that lie in planes, `stride` elements apart.
#pragma once

#include <cstdint>

#include "common/element.h"

namespace magnet {

// labels[0..n) = the class of the highest value, ties to the lowest class; the first NaN counts as the highest.
// channels <= 256.
void argmax_planes(Element type, const void* planes, int64_t stride, int64_t channels, int64_t n, uint8_t* labels);

// Softmax in place, made in fp32 (fp64 of fp64) and rounded to the type.
void softmax_planes(Element type, void* planes, int64_t stride, int64_t channels, int64_t n);

}  // namespace magnet
