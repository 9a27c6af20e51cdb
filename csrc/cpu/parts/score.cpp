#include "cpu/parts/score.h"

#include <algorithm>

#include "cpu/parts/margins.h"
#include "cpu/parts/tiles.h"

namespace magnet {
namespace {

struct Scratch {
  char *tile, *upsampling;  // of gathered or upsampled pixels; for the upsampler
};

// Pixels x to x + n of row y, n <= kMarginBlock.
void score_block(const ScoreJob& job, const Map& coarse, const Map& fine, const Map& copy, int64_t image, int64_t y,
                 int64_t x, int64_t n, float* scores, const Scratch& scratch) {
  float margins[kMarginBlock];
  margin_pixels(fine, image, y, x, n, job.from_logits, scratch.tile, scores);
  if (job.upsampler) {
    const int64_t block = upsampled_pixels(coarse);
    for (int64_t i = 0; i < n; i += block) {
      const int64_t count = std::min(block, n - i);
      job.upsampler->pixels(image, y, x + i, count, scratch.upsampling, scratch.tile, block);
      const bool fold = job.copies && copy.planar();
      margin_planes(coarse.type, scratch.tile, block, coarse.c, count, job.from_logits, margins + i,
                    fold ? copy.at(image, y, x + i) : nullptr, copy.sc, job.streams);
      if (job.copies && !fold) store_tile(copy, image, y, x + i, count, scratch.tile, block);
    }
  } else {
    margin_pixels(coarse, image, y, x, n, job.from_logits, scratch.tile, margins, job.copies ? &copy : nullptr,
                  job.streams);
  }
  combine_margins(margins, scores, n);
}

void clear_invalid(float* scores, const bool* valid, int64_t stride, int64_t n) {
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) scores[i] = valid[i] ? scores[i] : 0.0f;
  } else {
    for (int64_t i = 0; i < n; ++i) scores[i] = valid[i * stride] ? scores[i] : 0.0f;
  }
}

}  // namespace

int64_t ScoreJob::scratch_bytes() const {
  return upsampling_offset() + (upsampler ? upsampler->scratch_bytes(upsampled_pixels(coarse)) : 0);
}

int64_t ScoreJob::upsampling_offset() const {
  const int64_t upsampled = upsampler ? upsampled_pixels(coarse) * coarse.c * coarse.item() : 0;
  return (std::max({tile_bytes(coarse), tile_bytes(fine), upsampled}) + 63) / 64 * 64;
}

void ScoreJob::rows(int64_t image, int64_t y0, int64_t y1, float* scores, char* scratch) const {
  const int64_t w = fine.w;
  const Scratch parts{scratch, scratch + upsampling_offset()};
  if (!upsampler && coarse.one_row() && fine.one_row() && (!copies || copy.one_row())) {
    // All these rows as one: blocks need not end where rows do.
    const Map long_coarse = as_one_row(coarse), long_fine = as_one_row(fine);
    const Map long_copy = copies ? as_one_row(copy) : copy;
    for (int64_t x = y0 * w; x < y1 * w; x += kMarginBlock) {
      score_block(*this, long_coarse, long_fine, long_copy, image, 0, x, std::min(kMarginBlock, y1 * w - x), scores + x,
                  parts);
    }
  } else {
    for (int64_t y = y0; y < y1; ++y) {
      for (int64_t x = 0; x < w; x += kMarginBlock) {
        score_block(*this, coarse, fine, copy, image, y, x, std::min(kMarginBlock, w - x), scores + y * w + x, parts);
      }
    }
  }
  if (const bool* valid = mask.image(image)) {
    for (int64_t y = y0; y < y1; ++y) clear_invalid(scores + y * w, valid + y * mask.sy, mask.sx, w);
  }
}

}  // namespace magnet
