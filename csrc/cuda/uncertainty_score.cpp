// uncertainty_score: high where coarse is unsure and fine is sure.
#include "cuda/binding.h"
#include "cuda/median_blur.h"
#include "cuda/score.h"

namespace magnet::cuda {
namespace {

Tensor uncertainty_score(const Tensor& coarse, const Tensor& fine, std::optional<Tensor> mask, int64_t kernel_size,
                         bool from_logits) {
  ScoreJob job;
  job.coarse = view(coarse, "coarse");
  job.fine = view(fine, "fine");
  job.from_logits = from_logits;
  check_same(job.coarse, job.fine, "fine");
  check_score_arguments(job.coarse, job.fine, kernel_size);
  const int64_t n = job.fine.n, h = job.fine.h, w = job.fine.w;
  job.valid = view_mask(mask, n, h, w);
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
