// The arguments of refine_stage, read and checked before anything is allocated.
#pragma once

#include <vector>

#include "binding/boxes.h"
#include "binding/checks.h"

namespace magnet {

struct StageArguments {
  Map coarse, patches;
  std::vector<Box> boxes;  // of the patches
};

inline StageArguments read_stage_arguments(const Tensor& coarse, const Tensor& patches, const Tensor& boxes,
                                           int64_t height, int64_t width, int64_t n_points, int64_t kernel_size) {
  const Map map = view(coarse, "coarse"), parts = view(patches, "patches");
  check(map.type == parts.type, "patches: expected the type of coarse");
  check(map.c == parts.c, "patches: expected C of coarse, ", map.c, ", got ", parts.c);
  check_classes(map.c, "coarse");
  check_not_empty(map.h, map.w, "coarse");
  check_not_empty(parts.h, parts.w, "patches");
  check(height >= map.h && width >= map.w, "size: expected no less than coarse");
  check_n_points(n_points, height, width);
  check_kernel_size(kernel_size);
  return {map, parts, read_boxes(boxes, map.n, parts.n)};
}

}  // namespace magnet
