// Tiles: a block of pixels brought into planes, for maps whose classes do not lie in planes. Only moves elements.
#pragma once

#include <cstdint>

#include "common/map.h"

namespace magnet {

// Pixels in a tile of `map`: few enough that the tile stays in cache, a multiple of 16, at most 512.
int64_t tile_pixels(const Map& map);
// Bytes of a tile with that many pixels.
int64_t tile_bytes(const Map& map);

// tile[c * stride + i] = class c of pixel (y, x + i), i < count.
void load_tile(const Map& map, int64_t image, int64_t y, int64_t x, int64_t count, void* tile, int64_t stride);
// The reverse.
void store_tile(const Map& map, int64_t image, int64_t y, int64_t x, int64_t count, const void* tile, int64_t stride);
// Copies `count` pixels of row y from x between maps of any strides.
void copy_pixels(const Map& from, const Map& to, int64_t image, int64_t y, int64_t x, int64_t count);

}  // namespace magnet
