#include "cuda/stitch_patches.cuh"

namespace magnet::cuda {

void launch_stitch_patches(const Map& patches, const std::vector<Rect>& boxes, bool channels_last, const Map& out,
                           bool* covered, void* workspace, const Stream& stream) {
  channels_last = channels_last && out.w * out.c < (int64_t{1} << 31);  // planes may have any strides
  const Rects list = list_of<kFewRects>(boxes, workspace, stream);
  const int64_t tiles_y = (out.h + kStitchTileRows - 1) / kStitchTileRows;
  const int64_t tiles_x = (out.w * (channels_last ? out.c : 1) + 31) / 32;
  const Global<bool> cover = global<bool>(covered, out.n * out.h * out.w);
  visit_element(out.type, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kPlanes = stitch_planes<T, false>();
    const int64_t blocks = out.n * tiles_y * tiles_x * (channels_last ? 1 : (out.c + kPlanes - 1) / kPlanes);
    launch("stitch_patches", channels_last ? stitch<T, true> : stitch<T, false>, blocks, kStitchThreads, stream,
           view_of<const T>(patches), list, view_of<T>(out), cover, static_cast<uint32_t>(tiles_x),
           static_cast<uint32_t>(tiles_y));
  });
}

}  // namespace magnet::cuda
