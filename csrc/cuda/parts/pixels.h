// Which threads take which pixels of maps that are read together. Needs neither CUDA nor torch.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "cuda/parts/launch.h"

namespace magnet::cuda {

// Every image as `rows` rows of `length` pixels, a row in `per_row` units: `full` of several pixels, then single ones.
// A grid takes `units()` of each image, in `blocks` blocks an image; no block works on two.
struct PixelGrid {
  int64_t n, rows, length, full, per_row, blocks;

  PixelGrid(int64_t n, int64_t rows, int64_t length, int64_t unit, int64_t units_a_block)
      : n(n), rows(rows), length(length), full(length / unit), per_row(full + length % unit) {
    blocks = (rows * per_row + units_a_block - 1) / units_a_block;
  }
};

// Whether `unit` elements may be accessed at once wherever a unit begins, in every plane.
inline bool planes_aligned(const Map& map, int64_t unit) {
  const bool rows = map.h == 1 || map.sh % unit == 0;
  return (map.w == 1 || map.sw == 1) && rows && map.sc % unit == 0 && (map.n == 1 || map.sn % unit == 0) &&
         reinterpret_cast<uintptr_t>(map.data) % (unit * map.item()) == 0;
}

// The same for rows of pixels of consecutive classes without gaps.
inline bool pixels_dense(const Map& map, int64_t unit) {
  const bool rows = map.h == 1 || map.sh % unit == 0;
  return map.sc == 1 && (map.w == 1 || map.sw == map.c) && rows && (map.n == 1 || map.sn % unit == 0) &&
         reinterpret_cast<uintptr_t>(map.data) % (unit * map.item()) == 0;
}

inline bool pixels_dense(const Map& map) { return pixels_dense(map, 16 / map.item()); }

// float (N, 1, H, W) without gaps.
inline Map scores_like(float* data, int64_t n, int64_t h, int64_t w) {
  return {reinterpret_cast<char*>(data), Element::f32, n, 1, h, w, h * w, h * w, w, 1};
}

// Calls function(std::integral_constant<int, C>{}) with the number of classes where there are kernels for it, else with
// C = 0.
template <class Function>
void visit_classes(int64_t classes, const Function& function) {
  switch (classes) {
    case 2:
      return function(std::integral_constant<int, 2>{});
    case 5:
      return function(std::integral_constant<int, 5>{});
    case 7:
      return function(std::integral_constant<int, 7>{});
    case 11:
      return function(std::integral_constant<int, 11>{});
    case 19:
      return function(std::integral_constant<int, 19>{});
    case 21:
      return function(std::integral_constant<int, 21>{});
    case 150:
      return function(std::integral_constant<int, 150>{});
    default:
      return function(std::integral_constant<int, 0>{});
  }
}

template <class Function>
void visit_flag(bool flag, const Function& function) {
  if (flag) {
    function(std::true_type{});
  } else {
    function(std::false_type{});
  }
}

// Whether a map is upsampled to exactly twice its size, as sizes that a float counts.
inline bool doubles(const Map& small, int64_t height, int64_t width) {
  return height == 2 * small.h && width == 2 * small.w && height < (1 << 22) && width < (1 << 22);
}

// Sees the images of all these maps as one row each, where all of them allow it.
inline void flatten(std::initializer_list<Map*> maps) {
  const bool possible = std::all_of(maps.begin(), maps.end(), [](const Map* map) { return map->one_row(); });
  if (!possible) return;
  for (Map* map : maps) *map = as_one_row(*map);
}

}  // namespace magnet::cuda
