// refine_step: overwrite the pixels where coarse is unsure and fine is sure.
//
// At most five launches and no wait: scores (with the copy, out of place), medians as keys, the K-th highest key (two
// launches for more than three images of less than 2^19 pixels), the list with the replacement. Beside the points it
// allocates one workspace, 8 bytes a pixel and 4 MB an image (40 KB where digits are counted one by one).
#include "cuda/refine_step.h"

#include <tuple>

#include "binding/layout.h"
#include "binding/score_arguments.h"
#include "cuda/parts/binding.h"
#include "cuda/uncertainty_score.h"

namespace magnet::cuda {
namespace {

// Everything that can be refused or fail to be allocated happens before anything is written. out: null in place.
Tensor refine(const Tensor& coarse, const Tensor& fine, const std::optional<Tensor>& mask, int64_t n_points,
              int64_t kernel_size, bool from_logits, const Tensor* out) {
  const RefineArguments given = read_refine_arguments(coarse, fine, mask, n_points, kernel_size, out);
  const int64_t n = given.fine.n, h = given.fine.h, w = given.fine.w, pixels = given.pixels();
  ScoreJob job;
  job.coarse = given.coarse;
  job.fine = given.fine;
  job.valid = given.mask;
  job.from_logits = from_logits;
  if (given.copies) job.copy = given.target;

  const OnDevice device(coarse);
  Selection selection{n, h, w, n_points, job.valid};
  const Workspace sizes(selection);
  Tensor points = torch::stable::new_empty(coarse, {n, n_points}, ScalarType::Long);
  if (n * pixels == 0 || (n_points == 0 && !job.copy.data)) return points;
  Tensor workspace = torch::stable::new_empty(coarse, {sizes.bytes + n * pixels * 4}, ScalarType::Byte);
  selection.workspace = static_cast<char*>(workspace.data_ptr());
  selection.points = static_cast<int64_t*>(points.data_ptr());
  job.raw = reinterpret_cast<float*>(selection.workspace + sizes.bytes);
  job.zero = selection.workspace;
  job.zero_bytes = n_points > 0 ? sizes.zero_bytes : 0;

  score(job, device.stream);
  if (n_points == 0) return points;
  make_median_keys(selection, job.raw, static_cast<int>(kernel_size), device.stream);
  list_points(selection, &given.fine, &given.target, device.stream);
  return points;
}

Tensor refine_step_(const Tensor& coarse, const Tensor& fine, std::optional<Tensor> mask, int64_t n_points,
                    int64_t kernel_size, bool from_logits) {
  return refine(coarse, fine, mask, n_points, kernel_size, from_logits, nullptr);
}

Tensor refine_step_out(const Tensor& coarse, const Tensor& fine, std::optional<Tensor> mask, int64_t n_points,
                       int64_t kernel_size, bool from_logits, const Tensor& out) {
  return refine(coarse, fine, mask, n_points, kernel_size, from_logits, &out);
}

std::tuple<Tensor, Tensor> refine_step(const Tensor& coarse, const Tensor& fine, std::optional<Tensor> mask,
                                       int64_t n_points, int64_t kernel_size, bool from_logits) {
  Tensor refined = new_refined(coarse, fine);
  Tensor points = refine(coarse, fine, mask, n_points, kernel_size, from_logits, &refined);
  return {refined, points};
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) {
  m.impl("refine_step", TORCH_BOX(&magnet::cuda::refine_step));
  m.impl("refine_step_", TORCH_BOX(&magnet::cuda::refine_step_));
  m.impl("refine_step_out", TORCH_BOX(&magnet::cuda::refine_step_out));
}
