// What several operators refuse, on every device. The public functions check first, with better messages; this guards
// against calls that bypass them.
#pragma once

#include "binding/tensors.h"

namespace magnet {

inline void check_same(const Map& a, const Map& b, const char* name) {
  check(a.type == b.type, name, ": expected the type of the other map");
  check(a.n == b.n && a.c == b.c && a.h == b.h && a.w == b.w, name, ": expected shape (", a.n, ", ", a.c, ", ", a.h,
        ", ", a.w, "), got (", b.n, ", ", b.c, ", ", b.h, ", ", b.w, ")");
}

inline void check_dimensions(const Tensor& x, const char* name, const char* expected) {
  check(x.dim() == 4, name, ": expected 4 dimensions (", expected, "), got ", x.dim());
}

inline void check_classes(int64_t classes, const char* name) {
  check(classes >= 2, name, ": expected at least 2 channels (C), got ", classes);
}

inline void check_not_empty(int64_t height, int64_t width, const char* name) {
  check(height > 0 && width > 0, name, ": expected at least one pixel (H, W >= 1)");
}

inline void check_size(int64_t height, int64_t width, const char* name) {
  check(height > 0 && width > 0, name, ": expected two positive ints (H, W)");
}

inline void check_kernel_size(int64_t kernel_size) {
  check(kernel_size % 2 == 1 && kernel_size >= 1 && kernel_size <= 15,
        "kernel_size: expected an odd int from 1 to 15, got ", kernel_size);
}

inline void check_n_points(int64_t n_points, int64_t height, int64_t width) {
  check(n_points >= 0 && n_points <= height * width, "n_points: expected 0 to H * W = ", height * width, ", got ",
        n_points);
}

// What upsample_confidence takes.
inline void check_upsample_arguments(const Tensor& coarse, int64_t height, int64_t width) {
  check_dimensions(coarse, "coarse", "N, C, H, W");
  check_classes(coarse.size(1), "coarse");
  check_not_empty(coarse.size(2), coarse.size(3), "coarse");
  check_size(height, width, "size");
}

// What select_points takes.
inline Map read_scores(const Tensor& score, int64_t n_points) {
  const Map map = view(score, "score");
  check(map.c == 1, "score: expected one channel (N, 1, H, W), got ", map.c);
  check_n_points(n_points, map.h, map.w);
  return map;
}

// int64 (N, K), one row for each image of a map.
inline void check_points(const Tensor& points, const Map& map) {
  check(points.scalar_type() == ScalarType::Long, "points: expected an int64 tensor");
  check(points.dim() == 2 && points.size(0) == map.n, "points: expected (N, K) with N = ", map.n);
}

// Labels are bytes.
inline void check_labels(int64_t classes) {
  check(classes <= 256, "labels_only: expected at most 256 classes, got ", classes);
}

}  // namespace magnet
