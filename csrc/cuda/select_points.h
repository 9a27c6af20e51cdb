// The K highest scores of each image. One pass makes selection keys of the scores and counts their leading digits (the
// median kernel does it on its way, see parts/select_keys.cuh), one finds the K-th highest key, one lists the points
// and replaces their pixels. Needs neither CUDA nor torch.
#pragma once

#include "cuda/parts/selection.h"

namespace magnet::cuda {

// Keys of scores (N, 1, H, W) of any type and strides; fp64 where the keys are wide, and only there. follows: a kernel
// of the same operator.
void make_keys(const Selection& selection, const Map& scores, bool follows, const Stream& stream);

// From the keys to the points, ascending, -1 where valid pixels run out; where `to` is not null those pixels of `from`
// are copied to it. At most three launches. k > 0, and no map empty.
void list_points(const Selection& selection, const Map* from, const Map* to, const Stream& stream);

}  // namespace magnet::cuda
