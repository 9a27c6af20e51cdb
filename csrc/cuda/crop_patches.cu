#include <algorithm>
#include <cmath>

#include "cuda/crop_patches.cuh"

namespace magnet::cuda {
namespace {

// Output i of the axis is one pixel, or 0.
bool copies(const RoiAxis& axis) {
  return axis.samples == 1 && axis.bin_size == 1.0 && axis.start + 0.5 == std::floor(axis.start + 0.5);
}

// All boxes are copies, of rows without gaps.
bool only_copies(const Map& x, const std::vector<CropBox>& boxes, bool channels_last, const Map& out) {
  const bool dense = channels_last ? x.sc == 1 && (x.w == 1 || x.sw == x.c) : x.sw == 1 && out.sw == 1;
  return dense && std::all_of(boxes.begin(), boxes.end(),
                              [](const CropBox& box) { return copies(box.rows) && copies(box.columns); });
}

int64_t round_up(int64_t bytes) { return (bytes + 255) / 256 * 256; }

// Where things lie in the workspace.
struct Layout {
  int64_t boxes = 0, span = 0, weight = 0;  // bytes
  int64_t outputs = 0, most = 1;

  Layout(const Map& x, const std::vector<CropBox>& list, const Map& out) : outputs(out.h + out.w) {
    const int64_t count = static_cast<int64_t>(list.size());
    boxes = count > kFewCropBoxes ? round_up(count * sizeof(CropBox)) : 0;
    for (const CropBox& box : list) {  // samples are at most one pixel apart, give or take their rounding
      most = std::max({most, std::min(box.rows.samples + 2, x.h), std::min(box.columns.samples + 2, x.w)});
    }
    span = round_up(count * outputs * 2 * sizeof(int32_t));
    weight = round_up(count * outputs * most * (x.type == Element::f64 ? 8 : 4));
  }
};

template <class U>
void copy(const Map& x, const CropBoxes& boxes, bool channels_last, const Map& out, const Stream& stream) {
  constexpr int kPack = 16 / sizeof(U);
  const int64_t inner = channels_last ? out.c : 1, row_size = out.w * inner;
  const bool packs = row_size % kPack == 0 && reinterpret_cast<uintptr_t>(out.data) % 16 == 0;
  const int64_t steps = packs ? row_size / kPack : row_size;
  int log_row = 0;
  while (log_row < 8 && (int64_t{1} << log_row) < steps) ++log_row;
  const int64_t rows = (kCropThreads >> log_row) * kCopyRows;  // of a block
  const int64_t blocks = out.n * (channels_last ? 1 : out.c) * ((out.h + rows - 1) / rows);
  const bool aligned = reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && (x.h == 1 || x.sh % kPack == 0);
  launch("crop_patches", packs ? crop_copy<U, kPack> : crop_copy<U, 1>, blocks, kCropThreads, stream,
         view_of<const U>(x), boxes, view_of<U>(out), static_cast<uint32_t>(inner), log_row, aligned);
}

template <class T>
void crop(const Map& x, const CropBoxes& boxes, bool channels_last, const Map& out, const Layout& layout,
          char* workspace, const Stream& stream) {
  using A = Wide<T>;
  const int64_t count = boxes.count, outputs = count * layout.outputs;
  const CropTaps<A> taps{global<int32_t>(workspace, outputs * 2),
                         global<A>(workspace + layout.span, outputs * layout.most), layout.outputs, layout.most};
  launch("crop_patches", crop_taps<A>, count * ((layout.outputs + kCropThreads - 1) / kCropThreads), kCropThreads,
         stream, boxes, taps, x.h, x.w, out.h);
  const View<const T> from = view_of<const T>(x);
  const View<T> to = view_of<T>(out);
  if (channels_last) {
    constexpr int kRows = 4;
    const int64_t tiles_x = (out.w * out.c + kCropThreads - 1) / kCropThreads, tiles_y = (out.h + kRows - 1) / kRows;
    launch("crop_patches", crop_pixels<T, kRows>, count * tiles_y * tiles_x, kCropThreads, stream, from, boxes, taps,
           to, static_cast<uint32_t>(tiles_x), static_cast<uint32_t>(tiles_y));
  } else {
    constexpr int kPlanes = 4;
    const int64_t tiles_x = (out.w + 31) / 32, tiles_y = (out.h + 7) / 8, groups = (out.c + kPlanes - 1) / kPlanes;
    launch("crop_patches", crop_planes<T, kPlanes>, count * groups * tiles_y * tiles_x, kCropThreads, stream, from,
           boxes, taps, to, static_cast<uint32_t>(tiles_x), static_cast<uint32_t>(tiles_y));
  }
}

}  // namespace

int64_t crop_patches_workspace(const Map& x, const std::vector<CropBox>& boxes, const Map& out) {
  const Layout layout(x, boxes, out);
  return layout.boxes + layout.span + layout.weight;
}

void launch_crop_patches(const Map& x, const std::vector<CropBox>& boxes, bool channels_last, const Map& out,
                         void* workspace, const Stream& stream) {
  channels_last = channels_last && out.w * out.c < (int64_t{1} << 31);  // planes may have any strides
  const Layout layout(x, boxes, out);
  const CropBoxes list = list_of<kFewCropBoxes>(boxes, workspace, stream);
  if (only_copies(x, boxes, channels_last, out)) {
    visit_bits(x.type, [&](auto zero) { copy<decltype(zero)>(x, list, channels_last, out, stream); });
  } else {
    visit_element(x.type, [&](auto zero) {
      crop<decltype(zero)>(x, list, channels_last, out, layout, static_cast<char*>(workspace) + layout.boxes, stream);
    });
  }
}

}  // namespace magnet::cuda
