// uncertainty_score: high where coarse is unsure and fine is sure.
#include "binding/score_arguments.h"
#include "cpu/parts/score_pass.h"
#include "cpu/parts/tensors.h"

namespace magnet {
namespace {

Tensor uncertainty_score(const Tensor& coarse, const Tensor& fine, std::optional<Tensor> mask, int64_t kernel_size,
                         bool from_logits) {
  const ScoreArguments given = read_score_arguments(coarse, fine, mask, kernel_size);
  check_same(given.coarse, given.fine, "fine");
  ScoreJob job;
  job.coarse = given.coarse;
  job.fine = given.fine;
  job.mask = given.mask;
  job.from_logits = from_logits;
  const int64_t n = job.fine.n, h = job.fine.h, w = job.fine.w, pixels = h * w;
  Tensor result = new_scores(coarse, n, h, w);
  if (n * pixels == 0) return result;
  Tensor raw = new_scores(coarse, kernel_size > 1 ? 1 : 0, h, w);
  prefer_large_pages(result, n * pixels * 4);
  prefer_large_pages(raw, raw.numel() * 4);

  ScorePass pass(job, static_cast<int>(kernel_size));
  float* out = static_cast<float*>(result.data_ptr());
  for (int64_t image = 0; image < n; ++image, out += pixels) {
    pass.run(image, kernel_size > 1 ? static_cast<float*>(raw.data_ptr()) : out, out, false);
  }
  return result;
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) {
  m.def(
      "uncertainty_score(Tensor coarse, Tensor fine, Tensor? mask=None, int kernel_size=3, bool from_logits=False) -> "
      "Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) {
  m.impl("uncertainty_score", TORCH_BOX(&magnet::uncertainty_score));
}
