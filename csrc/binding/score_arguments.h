// The arguments of the operators with a score, read and checked: uncertainty_score and refine_step.
#pragma once

#include <optional>

#include "binding/checks.h"

namespace magnet {

struct ScoreArguments {
  Map coarse, fine;
  ValidMap mask;  // of fine's pixels
};

// coarse may be smaller than fine.
inline ScoreArguments read_score_arguments(const Tensor& coarse, const Tensor& fine, const std::optional<Tensor>& mask,
                                           int64_t kernel_size) {
  const Map low = view(coarse, "coarse"), high = view(fine, "fine");
  check(low.type == high.type, "fine: expected the type of coarse");
  check(low.n == high.n && low.c == high.c, "fine: expected N and C of coarse");
  check_classes(high.c, "coarse");
  check(low.h <= high.h && low.w <= high.w && (low.h * low.w > 0 || high.h * high.w == 0),
        "coarse: expected a map no larger than fine and not empty");
  check_kernel_size(kernel_size);
  return {low, high, view_mask(mask, high.n, high.h, high.w)};
}

struct RefineArguments : ScoreArguments {
  Map target;   // what the points are replaced in, of the size of fine: coarse in place, else out
  bool copies;  // coarse, upsampled where it is smaller, is to be copied to the target first

  int64_t pixels() const { return fine.h * fine.w; }
  bool resizes() const { return coarse.h != fine.h || coarse.w != fine.w; }
};

// out: null in place.
inline RefineArguments read_refine_arguments(const Tensor& coarse, const Tensor& fine,
                                             const std::optional<Tensor>& mask, int64_t n_points, int64_t kernel_size,
                                             const Tensor* out) {
  RefineArguments given{read_score_arguments(coarse, fine, mask, kernel_size), {}, false};
  check_n_points(n_points, given.fine.h, given.fine.w);
  check(out != nullptr || !given.resizes(), "coarse: expected the size of fine to refine in place");
  given.target = given.coarse;
  if (out) {
    given.target = view(*out, "out");
    check_same(given.fine, given.target, "out");
    given.copies = given.target.data != given.coarse.data;
  }
  return given;
}

}  // namespace magnet
