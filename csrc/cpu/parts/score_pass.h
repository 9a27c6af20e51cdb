// From maps to filtered scores and points: what the operators with a score share.
#pragma once

#include <cstdint>

#include "cpu/parts/score.h"
#include "cpu/parts/select.h"
#include "cpu/parts/tensors.h"

namespace magnet {

// Scores and their medians of one image, in one pass over coarse and fine: each thread scores a strip of rows and
// filters it while it is in cache; the few rows whose windows reach into a neighbour's strip come last.
// scores, medians: planes (H, W); the result is in medians, in scores where kernel_size is 1 (medians may then be
// null).
class ScorePass {
 public:
  ScorePass(const RowScorer& scorer, int kernel_size);  // keeps a reference to it
  // counts: whether to return histograms of the result, for select_highest.
  const std::vector<SelectHistogram>& run(int64_t image, float* scores, float* medians, bool counts);

 private:
  void finish_rows(int64_t image, int64_t y0, int64_t y1, const float* scores, float* medians, int64_t worker);

  const RowScorer& scorer_;
  int64_t h_, w_;
  int kernel_size_;
  int64_t segment_, segments_;  // rows of a strip, strips
  Workspace scratch_;
  std::vector<SelectHistogram> histograms_;  // one a worker
  bool counts_ = false;
};

}  // namespace magnet
