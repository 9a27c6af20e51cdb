// refine_stage: from a smaller coarse map and patches to the refined map of a scale, or to its labels alone.
//
// Launches: what makes logits probabilities, where patches are logits; scores, on the way of which coarse is upsampled;
// medians as keys; one or two that list the points; the patches at the points. No wait where boxes lie on the CPU.
#include "cuda/refine_stage.h"

#include <tuple>

#include "cuda/patches.h"
#include "cuda/refine_step.h"

namespace magnet::cuda {
namespace {

// Everything that can be refused is refused here, before anything is allocated.
StageJob check_arguments(const Tensor& coarse, const Tensor& patches, const Tensor& boxes, int64_t height,
                         int64_t width, int64_t n_points, int64_t kernel_size, bool from_logits) {
  StageJob job;
  job.coarse = view(coarse, "coarse");
  job.patches = view(patches, "patches");
  const Map &map = job.coarse, &parts = job.patches;
  check(map.type == parts.type, "patches: expected the type of coarse");
  check(map.c == parts.c, "patches: expected C of coarse, ", map.c, ", got ", parts.c);
  check(map.c >= 2, "coarse: expected at least 2 channels (C), got ", map.c);
  check(map.h > 0 && map.w > 0, "coarse: expected at least one pixel (H, W >= 1)");
  check(parts.h > 0 && parts.w > 0, "patches: expected at least one pixel (H, W >= 1)");
  check(height >= map.h && width >= map.w, "size: expected no less than coarse");
  check_sides("size", height, width);
  check_sides("patches", parts.h, parts.w);
  check(parts.h * parts.w < (int64_t{1} << 31), "patches: expected fewer than 2**31 pixels each");
  check(n_points >= 0 && n_points <= height * width, "n_points: expected 0 to H * W, got ", n_points);
  check(kernel_size % 2 == 1 && kernel_size >= 1 && kernel_size <= 15,
        "kernel_size: expected an odd int from 1 to 15, got ", kernel_size);
  job.boxes = rounded(read_boxes(boxes, map.n));
  check(static_cast<int64_t>(job.boxes.size()) == parts.n, "boxes: expected one for each of the ", parts.n,
        " patches, got ", job.boxes.size());
  job.from_logits = from_logits;
  job.h = height;
  job.w = width;
  return job;
}

// Fills in `job`, whose result is set, and returns the points.
Tensor run_stage(StageJob& job, const Tensor& coarse, int64_t n_points, int64_t kernel_size, const Stream& stream) {
  const int64_t n = job.coarse.n;
  Tensor points = torch::stable::new_empty(coarse, {n, n_points}, ScalarType::Long);
  if (n == 0) return points;
  const bool scored = n_points > 0;
  Selection selection{n, job.h, job.w, n_points};
  const StageMemory memory(job, selection, scored);
  Tensor workspace = new_workspace(coarse, memory.bytes);
  job.workspace = static_cast<char*>(workspace.data_ptr());
  selection.workspace = job.workspace;
  selection.points = static_cast<int64_t*>(points.data_ptr());
  selection.valid = {reinterpret_cast<const bool*>(job.workspace + memory.covered), job.h * job.w, job.w, 1};
  launch_stage_scores(job, selection, scored, stream);
  if (!scored) return points;
  make_median_keys(selection, reinterpret_cast<const float*>(job.workspace + memory.raw), static_cast<int>(kernel_size),
                   stream);
  list_points(selection, nullptr, nullptr, stream);
  launch_stage_replace(job, selection, stream);
  return points;
}

std::tuple<Tensor, Tensor> refine_stage(const Tensor& coarse, const Tensor& patches, const Tensor& boxes,
                                        int64_t height, int64_t width, int64_t n_points, int64_t kernel_size,
                                        bool from_logits) {
  StageJob job = check_arguments(coarse, patches, boxes, height, width, n_points, kernel_size, from_logits);
  const OnDevice device(coarse);
  Tensor refined = new_map(coarse, job.coarse.n, job.coarse.c, height, width, is_channels_last(coarse));
  job.refined = view(refined, "refined");
  Tensor points = run_stage(job, coarse, n_points, kernel_size, device.stream);
  return {refined, points};
}

std::tuple<Tensor, Tensor> refine_stage_labels(const Tensor& coarse, const Tensor& patches, const Tensor& boxes,
                                               int64_t height, int64_t width, int64_t n_points, int64_t kernel_size,
                                               bool from_logits) {
  StageJob job = check_arguments(coarse, patches, boxes, height, width, n_points, kernel_size, from_logits);
  check(coarse.size(1) <= 256, "labels_only: expected at most 256 classes, got ", coarse.size(1));
  const OnDevice device(coarse);
  Tensor labels = torch::stable::new_empty(coarse, {job.coarse.n, height, width}, ScalarType::Byte);
  job.labels = static_cast<uint8_t*>(labels.data_ptr());
  Tensor points = run_stage(job, coarse, n_points, kernel_size, device.stream);
  return {labels, points};
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) {
  m.impl("refine_stage", TORCH_BOX(&magnet::cuda::refine_stage));
  m.impl("refine_stage_labels", TORCH_BOX(&magnet::cuda::refine_stage_labels));
}
