// patch_uncertainty: the mean of 1 - confidence over boxes.
#include <numeric>

#include "binding/boxes.h"
#include "binding/checks.h"
#include "cpu/parts/margins.h"
#include "cpu/parts/tensors.h"
#include "cpu/parts/tiles.h"

namespace magnet {
namespace {

constexpr int64_t kBandPixels = 16 * kMarginBlock;  // at least, for a band of rows

// Rows [y, y + rows) of columns [x, x + width) of an image.
struct Band {
  int64_t image, y, rows, x, width;
};

// In lanes, so that the sum is vectorised; always in the same order.
double sum_uncertainty(const float* confidence, int64_t n) {
  constexpr int kSums = 8;
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= n; i += kSums) {
    for (int k = 0; k < kSums; ++k) sums[k] += static_cast<double>(1.0f - confidence[i + k]);
  }
  for (; i < n; ++i) sums[0] += static_cast<double>(1.0f - confidence[i]);
  return std::accumulate(sums, sums + kSums, 0.0);
}

std::vector<Band> cut_into_bands(int64_t image, PixelRange rows, PixelRange columns) {
  std::vector<Band> bands;
  const int64_t width = columns.end - columns.begin;
  if (width == 0) return bands;
  const int64_t height = std::max<int64_t>(1, kBandPixels / width);
  for (int64_t y = rows.begin; y < rows.end; y += height) {
    bands.push_back({image, y, std::min(height, rows.end - y), columns.begin, width});
  }
  return bands;
}

// result[i] = sum of 1 - confidence over bands[i].
std::vector<double> sum_bands(const Map& map, const std::vector<Band>& bands, bool from_logits) {
  std::vector<double> sums(bands.size());
  const int64_t items = static_cast<int64_t>(bands.size());
  const int64_t tile = map.planar() ? 0 : (tile_bytes(map) + 63) / 64 * 64;
  Workspace space(worker_count(items), tile + kMarginBlock * sizeof(float));
  for_each_item(items, [&](int64_t worker, int64_t item) {
    const Band& band = bands[item];
    float* confidence = reinterpret_cast<float*>(space.of(worker) + tile);
    double sum = 0;
    for (int64_t y = band.y; y < band.y + band.rows; ++y) {
      for (int64_t x = 0; x < band.width; x += kMarginBlock) {
        const int64_t n = std::min(kMarginBlock, band.width - x);
        margin_pixels(map, band.image, y, band.x + x, n, from_logits, space.of(worker), confidence);
        sum += sum_uncertainty(confidence, n);
      }
    }
    sums[item] = sum;
  });
  return sums;
}

// The same from the confidence of the whole map, made once: faster where the boxes lie on top of each other.
std::vector<double> sum_bands_of_map(const Map& map, const std::vector<Band>& bands, bool from_logits) {
  std::vector<float> confidence(map.n * map.h * map.w);
  const int64_t rows = map.n * map.h;
  Workspace tiles(worker_count(rows), map.planar() ? 0 : tile_bytes(map));
  for_each_item(rows, [&](int64_t worker, int64_t row) {
    margin_pixels(map, row / map.h, row % map.h, 0, map.w, from_logits, tiles.of(worker), &confidence[row * map.w]);
  });
  std::vector<double> sums(bands.size());
  for_each_item(static_cast<int64_t>(bands.size()), [&](int64_t, int64_t item) {
    const Band& band = bands[item];
    double sum = 0;
    for (int64_t y = band.y; y < band.y + band.rows; ++y) {
      sum += sum_uncertainty(&confidence[(band.image * map.h + y) * map.w + band.x], band.width);
    }
    sums[item] = sum;
  });
  return sums;
}

Tensor patch_uncertainty(const Tensor& coarse, const Tensor& boxes, bool from_logits) {
  const Map map = view(coarse, "coarse");
  check_classes(map.c, "coarse");
  const std::vector<Box> list = read_boxes(boxes, map.n);
  Tensor result = torch::stable::new_empty(coarse, {static_cast<int64_t>(list.size())}, ScalarType::Float);
  std::vector<Band> bands;
  std::vector<size_t> last;  // of each box, one past it
  std::vector<int64_t> pixels;
  for (const Box& box : list) {
    const PixelBox b = rounded(box);
    const PixelRange rows = clip(b.y0, b.y1, map.h), columns = clip(b.x0, b.x1, map.w);
    const std::vector<Band> cut = cut_into_bands(b.image, rows, columns);
    bands.insert(bands.end(), cut.begin(), cut.end());
    last.push_back(bands.size());
    pixels.push_back((rows.end - rows.begin) * (columns.end - columns.begin));
  }
  const int64_t total = std::accumulate(pixels.begin(), pixels.end(), int64_t{0});
  const bool dense = total > 2 * map.n * map.h * map.w;
  const std::vector<double> sums =
      dense ? sum_bands_of_map(map, bands, from_logits) : sum_bands(map, bands, from_logits);
  float* out = static_cast<float*>(result.data_ptr());
  size_t i = 0;
  for (size_t p = 0; p < list.size(); ++p) {
    double sum = 0;
    for (; i < last[p]; ++i) sum += sums[i];
    out[p] = pixels[p] > 0 ? static_cast<float>(sum / static_cast<double>(pixels[p])) : 0.0f;
  }
  return result;
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) {
  m.def("patch_uncertainty(Tensor coarse, Tensor boxes, bool from_logits=False) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) {
  m.impl("patch_uncertainty", TORCH_BOX(&magnet::patch_uncertainty));
}
