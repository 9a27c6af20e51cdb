// Bilinear upsampling (align_corners=False) of consecutive pixels of a map of any strides, into planes.
#pragma once

#include <cstdint>
#include <memory>

#include "common/map.h"

namespace magnet {

class Upsampler {
 public:
  virtual ~Upsampler() = default;
  // Bytes of scratch memory that pixels() needs for up to `count` pixels.
  virtual int64_t scratch_bytes(int64_t count) const = 0;
  // tile[c * stride + i] = class c of pixel x + i of row y of the larger map, in the map's type; x a multiple of 16.
  virtual void pixels(int64_t image, int64_t y, int64_t x, int64_t count, char* scratch, void* tile,
                      int64_t stride) const = 0;
};

// Pixels that are upsampled at a time, a multiple of 16: as many as all classes of fit into L2 with much else, at most
// the block that margins are taken of. Of each class a longer run of the smaller map is read then, which is worth more
// than a tile in L1.
int64_t upsampled_pixels(const Map& map);

std::unique_ptr<Upsampler> make_upsampler(const Map& coarse, int64_t out_h, int64_t out_w);

}  // namespace magnet
