// crop_patches on CUDA, without CUDA and torch.
#pragma once

#include <cstdint>
#include <vector>

#include "common/roi_align.h"
#include "cuda/parts/launch.h"

namespace magnet::cuda {

struct CropBox {
  int64_t image;
  RoiAxis rows, columns;
};

constexpr int kFewCropBoxes = 32;

// Bytes of device memory that launch_crop_patches needs beside the result.
int64_t crop_patches_workspace(const Map& x, const std::vector<CropBox>& boxes, const Map& out);

// out: (P, C, h, w), contiguous or, where channels_last, in that layout. Neither x nor out is empty.
void launch_crop_patches(const Map& x, const std::vector<CropBox>& boxes, bool channels_last, const Map& out,
                         void* workspace, const Stream& stream);

}  // namespace magnet::cuda
