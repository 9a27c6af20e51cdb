// Copying maps, and the pixels of one at given points into another.
#pragma once

#include <cstdint>

#include "common/map.h"

namespace magnet {

// points: (n, k) flat indices y * W + x without gaps; those that are negative replace nothing. Writes from's values at
// the points into `to`, a map of the same shape and type. ascending: those of each image grow, but for negative ones at
// its end, as select_highest lists them. Parallel inside.
void replace_pixels(const Map& from, const Map& to, const int64_t* points, int64_t k, bool ascending = false);

// Copies a map into another of the same shape and type. Parallel inside.
void copy_map(const Map& from, const Map& to);

}  // namespace magnet
