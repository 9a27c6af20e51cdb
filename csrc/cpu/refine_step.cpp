// refine_step: overwrite the pixels where coarse is unsure and fine is sure.
//
// Two passes over the maps in all: one reads both and leaves filtered scores and the histogram of their leading digits
// (out of place it also copies coarse), one moves the chosen pixels. Beyond its inputs the step in place allocates two
// score maps of one image and the points.
#include <tuple>

#include "binding/layout.h"
#include "binding/score_arguments.h"
#include "cpu/parts/replace.h"
#include "cpu/parts/score_pass.h"
#include "cpu/parts/tensors.h"

namespace magnet {
namespace {

// Everything that can be refused or fail to be allocated happens before anything is written. out: null in place.
Tensor refine(const Tensor& coarse, const Tensor& fine, const std::optional<Tensor>& mask, int64_t n_points,
              int64_t kernel_size, bool from_logits, const Tensor* out) {
  const RefineArguments given = read_refine_arguments(coarse, fine, mask, n_points, kernel_size, out);
  const int64_t n = given.fine.n, h = given.fine.h, w = given.fine.w, pixels = given.pixels();
  std::unique_ptr<Upsampler> upsampler;
  if (given.resizes() && n * pixels > 0) upsampler = make_upsampler(given.coarse, h, w);
  ScoreJob job;
  job.coarse = given.coarse;
  job.fine = given.fine;
  job.mask = given.mask;
  job.from_logits = from_logits;
  job.upsampler = upsampler.get();
  job.copies = given.copies;
  job.copy = given.target;
  job.streams = outgrows_caches(given.fine.n * given.fine.c * pixels * given.fine.item());

  Tensor points = torch::stable::new_empty(coarse, {n, n_points}, ScalarType::Long);
  if (n * pixels == 0 || (n_points == 0 && !job.copies)) return points;
  Tensor raw = new_scores(coarse, 1, h, w);
  Tensor medians = new_scores(coarse, kernel_size > 1 ? 1 : 0, h, w);
  prefer_large_pages(raw, pixels * 4);
  prefer_large_pages(medians, medians.numel() * 4);
  float* scores = static_cast<float*>(raw.data_ptr());
  float* filtered = kernel_size > 1 ? static_cast<float*>(medians.data_ptr()) : scores;
  int64_t* chosen = static_cast<int64_t*>(points.data_ptr());
  ScorePass pass(job, static_cast<int>(kernel_size));

  for (int64_t image = 0; image < n; ++image) {
    const std::vector<SelectHistogram>& histograms = pass.run(image, scores, filtered, n_points > 0);
    if (n_points == 0) continue;
    select_highest(Element::f32, score_plane(filtered, h, w, job.mask, image), n_points, chosen + image * n_points,
                   histograms.data(), static_cast<int64_t>(histograms.size()));
  }
  replace_pixels(job.fine, given.target, chosen, n_points, true);
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
  prefer_large_pages(refined, refined.numel() * view(refined, "refined").item());
  Tensor points = refine(coarse, fine, mask, n_points, kernel_size, from_logits, &refined);
  return {refined, points};
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) {
  m.def(
      "refine_step(Tensor coarse, Tensor fine, Tensor? mask, SymInt n_points, int kernel_size, bool from_logits) -> "
      "(Tensor, Tensor)");
  m.def(
      "refine_step_(Tensor(a!) coarse, Tensor fine, Tensor? mask, SymInt n_points, int kernel_size, bool from_logits) "
      "-> Tensor");
  m.def(
      "refine_step_out(Tensor coarse, Tensor fine, Tensor? mask, SymInt n_points, int kernel_size, bool from_logits, "
      "Tensor(a!) out) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) {
  m.impl("refine_step", TORCH_BOX(&magnet::refine_step));
  m.impl("refine_step_", TORCH_BOX(&magnet::refine_step_));
  m.impl("refine_step_out", TORCH_BOX(&magnet::refine_step_out));
}
