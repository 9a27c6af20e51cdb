// The score before the median, and what refine_step does on the way: the first of its launches.
#pragma once

#include "cuda/parts/launch.h"

namespace magnet::cuda {

struct ScoreJob {
  Map coarse,
      fine;        // (N, C, h, w), (N, C, H, W), C >= 2, of one type and any strides; coarse is upsampled where smaller
  ValidMap valid;  // of fine's pixels
  bool from_logits = false;
  Map copy{};            // where coarse, upsampled, is copied to, in the size of fine; data null: nowhere
  float* raw = nullptr;  // the scores: (N, 1, H, W) without gaps
  void* zero = nullptr;  // memory to fill with zeros, aligned to 16 bytes; zero_bytes: a multiple of 16
  int64_t zero_bytes = 0;
};

// raw = (1 - confidence(coarse)) * confidence(fine), 0 where that is not a number or not valid. One launch; none where
// there are no pixels: then nothing is filled either.
void score(const ScoreJob& job, const Stream& stream);

}  // namespace magnet::cuda
