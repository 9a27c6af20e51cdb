// patch_uncertainty on CUDA, without CUDA and torch.
#pragma once

#include <vector>

#include "cuda/parts/boxes.h"
#include "cuda/parts/launch.h"

namespace magnet::cuda {

// Bytes of device memory that launch_patch_uncertainty needs beside the result.
int64_t patch_uncertainty_workspace(const Map& coarse, const std::vector<Rect>& boxes);

// out: one float for each box.
void launch_patch_uncertainty(const Map& coarse, const std::vector<Rect>& boxes, bool from_logits, float* out,
                              void* workspace, const Stream& stream);

}  // namespace magnet::cuda
