// The score of consecutive rows, for the operators that need it, before the median.
#pragma once

#include <cstdint>

#include "common/map.h"
#include "cpu/parts/upsample.h"

namespace magnet {

// What makes the scores of consecutive rows, before the median, for maps (H, W).
class RowScorer {
 public:
  virtual ~RowScorer() = default;
  virtual int64_t height() const = 0;
  virtual int64_t width() const = 0;
  virtual int64_t scratch_bytes() const = 0;  // that rows() needs
  // Rows [y0, y1) into those rows of `scores`, the plane (H, W) of this image. Single threaded.
  virtual void rows(int64_t image, int64_t y0, int64_t y1, float* scores, char* scratch) const = 0;
  // Which pixels may be chosen; null: all.
  virtual ValidMap valid() const = 0;
};

// (1 - confidence(coarse)) * confidence(fine), 0 where not valid.
struct ScoreJob : RowScorer {
  Map coarse, fine;
  const Upsampler* upsampler = nullptr;  // of coarse, where it is smaller than fine
  ValidMap mask;
  bool from_logits = false;
  bool copies = false;   // coarse, upsampled, is also copied to `copy`, which has the size of fine
  bool streams = false;  // past the caches, see margin_planes
  Map copy{};

  int64_t height() const override { return fine.h; }
  int64_t width() const override { return fine.w; }
  int64_t scratch_bytes() const override;
  void rows(int64_t image, int64_t y0, int64_t y1, float* scores, char* scratch) const override;
  ValidMap valid() const override { return mask; }

 private:
  int64_t upsampling_offset() const;  // in the scratch memory: before it lies a tile
};

}  // namespace magnet
