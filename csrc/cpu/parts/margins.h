// Confidence of consecutive pixels, for the operators that need it.
#pragma once

#include <cstdint>

#include "common/map.h"

namespace magnet {

constexpr int64_t kMarginBlock = 1024;  // the most pixels that margin_planes takes

// out[0..n) = top-1 minus top-2 over `channels` planes `stride` elements apart, n <= kMarginBlock; 0 where that is not
// a number. copy: null, or where the planes are also copied to, copy_stride elements apart; stream: past the caches,
// for copies too large to be of use there.
void margin_planes(Element type, const void* planes, int64_t stride, int64_t channels, int64_t n, bool from_logits,
                   float* out, void* copy = nullptr, int64_t copy_stride = 0, bool stream = false);

// The same for pixels x to x + count of row y of a map of any strides. tile: tile_bytes(map) of scratch memory.
// copy: null, or a map that these pixels are also copied to.
void margin_pixels(const Map& map, int64_t image, int64_t y, int64_t x, int64_t count, bool from_logits, char* tile,
                   float* out, const Map* copy = nullptr, bool stream = false);

// scores = (1 - coarse) * scores, 0 where that is not a number; n margins each.
void combine_margins(const float* coarse, float* scores, int64_t n);

}  // namespace magnet
