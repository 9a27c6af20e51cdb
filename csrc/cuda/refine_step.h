// What refine_step has between the score and the selection. Needs neither CUDA nor torch.
#pragma once

#include "cuda/select_points.h"

namespace magnet::cuda {

// Selection keys of the median of `raw`, scores (N, 1, H, W) without gaps. kernel_size: odd, 1 to 15. One launch.
void make_median_keys(const Selection& selection, const float* raw, int kernel_size, const Stream& stream);

}  // namespace magnet::cuda
