// uncertainty_score: high where coarse is unsure and fine is sure.
#include "cuda/uncertainty_score.h"

#include "binding/score_arguments.h"
#include "cuda/median_blur.h"
#include "cuda/parts/binding.h"

namespace magnet::cuda {
namespace {

Tensor uncertainty_score(const Tensor& coarse, const Tensor& fine, std::optional<Tensor> mask, int64_t kernel_size,
                         bool from_logits) {
  const ScoreArguments given = read_score_arguments(coarse, fine, mask, kernel_size);
  check_same(given.coarse, given.fine, "fine");
  ScoreJob job;
  job.coarse = given.coarse;
  job.fine = given.fine;
  job.valid = given.mask;
  job.from_logits = from_logits;
  const int64_t n = job.fine.n, h = job.fine.h, w = job.fine.w;
  const OnDevice device(coarse);
  const Tensor raw = new_scores(coarse, n, h, w);
  job.raw = static_cast<float*>(raw.data_ptr());
  if (kernel_size == 1) {
    score(job, device.stream);
    return raw;
  }
  const Tensor result = new_scores(coarse, n, h, w);
  score(job, device.stream);
  median_blur(view(raw, "raw"), view(result, "result"), static_cast<int>(kernel_size), device.stream);
  return result;
}

}  // namespace
}  // namespace magnet::cuda

MAGNET_CUDA_LIBRARY(m) { m.impl("uncertainty_score", TORCH_BOX(&magnet::cuda::uncertainty_score)); }
