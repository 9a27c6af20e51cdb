// From maps to filtered scores and points: what uncertainty_score and refine_step share.
#pragma once

#include <cstdint>

#include "cpu/score.h"
#include "cpu/select_points.h"
#include "cpu/tensors.h"

namespace magnet {

// Scores and their medians of one image, in one pass over coarse and fine: each thread scores a strip of rows and
// filters it while it is in cache; the few rows whose windows reach into a neighbour's strip come last.
// scores, medians: planes (H, W); the result is in medians, in scores where kernel_size is 1 (medians may then be
// null).
class ScorePass {
 public:
  ScorePass(const ScoreJob& job, int kernel_size);
  // counts: whether to return histograms of the result, for select_points_plane.
  const std::vector<SelectHistogram>& run(int64_t image, float* scores, float* medians, bool counts);

 private:
  void finish_rows(int64_t image, int64_t y0, int64_t y1, const float* scores, float* medians, int64_t worker);

  ScoreJob job_;
  int kernel_size_;
  int64_t segment_, segments_;  // rows of a strip, strips
  Workspace scratch_;
  std::vector<SelectHistogram> histograms_;  // one a worker
  bool counts_ = false;
};

// The checks on what the operators with a score take.
inline void check_score_arguments(const ScoreJob& job, int64_t kernel_size) {
  const Map &coarse = job.coarse, &fine = job.fine;
  check(coarse.type == fine.type, "fine: expected the type of coarse");
  check(coarse.n == fine.n && coarse.c == fine.c, "fine: expected N and C of coarse");
  check(fine.c >= 2, "coarse: expected at least 2 channels (C), got ", fine.c);
  check(coarse.h <= fine.h && coarse.w <= fine.w && (coarse.h * coarse.w > 0 || fine.h * fine.w == 0),
        "coarse: expected a map no larger than fine and not empty");
  check(kernel_size % 2 == 1 && kernel_size >= 1 && kernel_size <= 15,
        "kernel_size: expected an odd int from 1 to 15, got ", kernel_size);
}

}  // namespace magnet
