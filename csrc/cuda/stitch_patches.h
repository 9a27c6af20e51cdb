// stitch_patches on CUDA, without CUDA and torch.
#pragma once

#include <vector>

#include "cuda/parts/boxes.h"
#include "cuda/parts/launch.h"

namespace magnet::cuda {

// patches: (P, C, h, w), not empty but for P, which may be 0. out: (N, C, H, W), contiguous or, where channels_last, in
// that layout. covered: (N, 1, H, W) without gaps. workspace: rect_bytes(P) of device memory.
void launch_stitch_patches(const Map& patches, const std::vector<Rect>& boxes, bool channels_last, const Map& out,
                           bool* covered, void* workspace, const Stream& stream);

}  // namespace magnet::cuda
