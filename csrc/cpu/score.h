// The score of consecutive rows, for the operators that need it, before the median.
#pragma once

#include <cstdint>

#include "cpu/map.h"
#include "cpu/upsample.h"

namespace magnet {

// bool (N, 1, H, W) of any strides, True where pixels are valid; data is null where all are.
struct ValidMap {
  const bool* data = nullptr;
  int64_t sn = 0, sy = 0, sx = 0;

  const bool* image(int64_t n) const { return data ? data + n * sn : nullptr; }
};

struct ScoreJob {
  Map coarse, fine;
  const Upsampler* upsampler = nullptr;  // of coarse, where it is smaller than fine
  ValidMap valid;
  bool from_logits = false;
  bool copies = false;   // coarse, upsampled, is also copied to `copy`, which has the size of fine
  bool streams = false;  // past the caches, see margin_planes
  Map copy{};
};

int64_t score_bytes(const ScoreJob& job);  // scratch memory that score_rows needs

// Rows [y0, y1) of (1 - confidence(coarse)) * confidence(fine), 0 where not valid, into those rows of `scores`, the
// plane (H, W) of this image. Single threaded.
void score_rows(const ScoreJob& job, int64_t image, int64_t y0, int64_t y1, float* scores, char* scratch);

}  // namespace magnet
