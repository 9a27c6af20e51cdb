// refine_stage: from a smaller coarse map and patches to the refined map of a scale, or to its labels alone.
//
// Launches: what makes logits probabilities, where patches are logits; scores, on the way of which coarse is upsampled;
// medians as keys; one to three that list the points; the patches at the points. No wait where boxes lie on the CPU.
#include "cuda/refine_stage.h"

#include <tuple>

#include "binding/checks.h"
#include "binding/stage_arguments.h"
#include "cuda/parts/patches.h"
#include "cuda/refine_step.h"

namespace magnet::cuda {
namespace {

StageJob read_arguments(const Tensor& coarse, const Tensor& patches, const Tensor& boxes, int64_t height, int64_t width,
                        int64_t n_points, int64_t kernel_size, bool from_logits) {
  const StageArguments given = read_stage_arguments(coarse, patches, boxes, height, width, n_points, kernel_size);
  const Map& parts = given.patches;
  check_sides("size", height, width);
  check_sides("patches", parts.h, parts.w);
  check(parts.h * parts.w < (int64_t{1} << 31), "patches: expected fewer than 2**31 pixels each");
  StageJob job;
  job.coarse = given.coarse;
  job.patches = parts;
  job.boxes = rounded(given.boxes);
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
  StageJob job = read_arguments(coarse, patches, boxes, height, width, n_points, kernel_size, from_logits);
  const OnDevice device(coarse);
  Tensor refined = new_map(coarse, job.coarse.n, job.coarse.c, height, width, is_channels_last(coarse));
  job.refined = view(refined, "refined");
  Tensor points = run_stage(job, coarse, n_points, kernel_size, device.stream);
  return {refined, points};
}

std::tuple<Tensor, Tensor> refine_stage_labels(const Tensor& coarse, const Tensor& patches, const Tensor& boxes,
                                               int64_t height, int64_t width, int64_t n_points, int64_t kernel_size,
                                               bool from_logits) {
  StageJob job = read_arguments(coarse, patches, boxes, height, width, n_points, kernel_size, from_logits);
  check_labels(job.coarse.c);
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
