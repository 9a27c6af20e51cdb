// Pixels of the map that patches make when they are stitched, without that map.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "binding/boxes.h"

namespace magnet {

class Stitcher {
 public:
  virtual ~Stitcher() = default;
  // No patch lies on the image.
  virtual bool empty(int64_t image) const = 0;
  // Patches lie on every pixel of the image.
  virtual bool full(int64_t image) const = 0;
  // The columns of a row where patches lie: ranges, ascending, apart.
  virtual const std::vector<PixelRange>& covered(int64_t image, int64_t y) const = 0;
  // Bytes of scratch memory that pixels() needs for up to `count` pixels, and points() for any number.
  virtual int64_t scratch_bytes(int64_t count) const = 0;
  // tile[c * stride + i] = class c of pixel x + i of row y, in the type of the patches; 0 where nothing lies.
  virtual void pixels(int64_t image, int64_t y, int64_t x, int64_t count, char* scratch, void* tile,
                      int64_t stride) const = 0;
  // The same of single pixels, at flat indices of the map, none negative; the same bits as pixels() gives.
  virtual void points(int64_t image, const int64_t* points, int64_t count, char* scratch, void* tile,
                      int64_t stride) const = 0;
};

// patches: (P, C, ph, pw) of any strides; logits, whose softmax is stitched, where from_logits. Keeps `patches`.
std::unique_ptr<Stitcher> make_stitcher(const Map& patches, const std::vector<Box>& boxes, int64_t images,
                                        int64_t height, int64_t width, bool from_logits);

}  // namespace magnet
