#include "cpu/parts/margins.h"

#include <algorithm>

#include "cpu/parts/tiles.h"

#define MAGNET_KERNEL_FILE "cpu/simd/margin_kernel.h"
#include "cpu/simd/foreach_isa.h"

namespace magnet {

static_assert(baseline::kBlock == kMarginBlock);

void margin_planes(Element type, const void* planes, int64_t stride, int64_t channels, int64_t n, bool from_logits,
                   float* out, void* copy, int64_t copy_stride, bool stream) {
  visit_element(type, [&](auto zero) {
    using T = decltype(zero);
    auto kernel = MAGNET_BEST(margin_block<T>);
    kernel(planes, stride, channels, static_cast<int>(n), from_logits, out, copy, copy_stride, stream);
  });
}

void margin_pixels(const Map& map, int64_t image, int64_t y, int64_t x, int64_t count, bool from_logits, char* tile,
                   float* out, const Map* copy, bool stream) {
  const int64_t block = map.planar() ? kMarginBlock : tile_pixels(map);
  for (int64_t i = 0; i < count; i += block) {
    const int64_t n = std::min(block, count - i);
    if (map.planar()) {
      const bool fold = copy && copy->planar();
      margin_planes(map.type, map.at(image, y, x + i), map.sc, map.c, n, from_logits, out + i,
                    fold ? copy->at(image, y, x + i) : nullptr, fold ? copy->sc : 0, stream);
      if (copy && !fold) copy_pixels(map, *copy, image, y, x + i, n);
    } else {
      load_tile(map, image, y, x + i, n, tile, block);
      margin_planes(map.type, tile, block, map.c, n, from_logits, out + i);
      if (copy) copy_pixels(map, *copy, image, y, x + i, n);
    }
  }
}

void combine_margins(const float* coarse, float* scores, int64_t n) {
  MAGNET_BEST(combine_margins)(coarse, scores, static_cast<int>(n));
}

}  // namespace magnet
