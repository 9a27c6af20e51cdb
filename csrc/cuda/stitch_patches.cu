#include <algorithm>

#include "cuda/parts/pixels.h"
#include "cuda/stitch_patches.cuh"

namespace magnet::cuda {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
void planes(const Map& patches, const Rects& boxes, const Map& out, Global<bool> covered, const Stream& stream) {
  constexpr int64_t kN = kStitchPixels<T>, kMost = kStitchPlanes;
  constexpr int64_t kEnough = 2048;  // tiles: four for each place of a block on a large GPU
  const int64_t tiles_x = divide_up(out.w, kStitchColumns<T>), tiles_y = divide_up(out.h, kStitchRows);
  const int64_t tiles = out.n * tiles_y * tiles_x, steps = divide_up(out.c, kMost);
  const int64_t of_group = divide_up(steps, std::clamp<int64_t>(kEnough / tiles, 1, steps)) * kMost;
  const int64_t groups = divide_up(out.c, of_group);
  StitchGrid grid{};
  grid.tiles_x = static_cast<uint32_t>(tiles_x);
  grid.tiles_y = static_cast<uint32_t>(tiles_y);
  grid.groups = static_cast<int32_t>(groups);
  grid.planes = static_cast<int32_t>(of_group);
  grid.rows = out.w % kN == 0 && planes_aligned(out, kN) && planes_aligned(patches, kN);
  launch("stitch_patches", stitch_planes<T>, tiles * groups, kStitchThreads, stream,
         StitchJob<T>{view_of<const T>(patches), boxes, view_of<T>(out), covered, grid});
}

template <class T>
void pixels(const Map& patches, const Rects& boxes, const Map& out, Global<bool> covered, const Stream& stream) {
  const int64_t tiles_y = divide_up(out.h, kStitchPixelTileRows), tiles_x = divide_up(out.w * out.c, 32);
  launch("stitch_patches", stitch_pixels<T>, out.n * tiles_y * tiles_x, kStitchThreads, stream,
         view_of<const T>(patches), boxes, view_of<T>(out), covered, static_cast<uint32_t>(tiles_x),
         static_cast<uint32_t>(tiles_y));
}

}  // namespace

void launch_stitch_patches(const Map& patches, const std::vector<Rect>& boxes, bool channels_last, const Map& out,
                           bool* covered, void* workspace, const Stream& stream) {
  const bool in_pixels = channels_last && out.w * out.c < (int64_t{1} << 31);  // planes may have any strides
  const Rects list = list_of<kFewRects>(boxes, workspace, stream);
  const Global<bool> cover = global<bool>(covered, out.n * out.h * out.w);
  visit_element(out.type, [&](auto zero) {
    using T = decltype(zero);
    in_pixels ? pixels<T>(patches, list, out, cover, stream) : planes<T>(patches, list, out, cover, stream);
  });
}

}  // namespace magnet::cuda
