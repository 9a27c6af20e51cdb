// refine_stage on CUDA: what surrounds median, selection and list of points. Needs neither CUDA nor torch.
#pragma once

#include <vector>

#include "cuda/parts/boxes.h"
#include "cuda/select_points.h"

namespace magnet::cuda {

struct StageJob {
  Map coarse, patches;  // (N, C, h, w), (P, C, ph, pw), C >= 2, of one type and any strides; P may be 0
  std::vector<Rect> boxes;
  bool from_logits = false;   // of patches
  int64_t h = 0, w = 0;       // to reach
  Map refined{};              // the result (N, C, H, W) of any strides; data null: only labels are asked for
  uint8_t* labels = nullptr;  // (N, H, W)
  char* workspace = nullptr;  // StageMemory::bytes of it, aligned to 256 bytes
};

// Where things lie in the workspace, in bytes. The selection's own comes first.
struct StageMemory {
  int64_t raw = 0, covered = 0, fine_labels = 0, sums = 0, boxes = 0, bytes = 0;

  // scored: points are asked for.
  StageMemory(const StageJob& job, const Selection& selection, bool scored) {
    const int64_t pixels = selection.n * selection.pixels();
    const auto take = [this](int64_t size) {
      const int64_t begin = bytes;
      bytes += (size + 255) / 256 * 256;
      return begin;
    };
    take(scored ? Workspace(selection).bytes : 0);
    raw = take(scored ? pixels * 4 : 0);
    covered = take(scored ? pixels : 0);
    fine_labels = take(scored && !job.refined.data ? pixels : 0);
    sums = take(scored && job.from_logits
                    ? job.patches.n * job.patches.h * job.patches.w * (job.patches.type == Element::f64 ? 16 : 8)
                    : 0);
    boxes = take(rect_bytes(static_cast<int64_t>(job.boxes.size())));
  }
};

// Coarse, upsampled, into `refined` or as labels; where `scored` also raw scores and which pixels are covered, and
// zeros where the selection wants them. Two launches, one where patches are probabilities.
void launch_stage_scores(const StageJob& job, const Selection& selection, bool scored, const Stream& stream);

// The patches at the points into `refined`, or their labels. One launch.
void launch_stage_replace(const StageJob& job, const Selection& selection, const Stream& stream);

}  // namespace magnet::cuda
