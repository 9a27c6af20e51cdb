// refine_stage: a smaller coarse map and patches to the refined map of a scale, or to its labels alone.
//
// Block by block of a row, coarse is upsampled and the patches stitched into tiles that stay in cache; their scores are
// kept, and of coarse what is asked for: the map, or its arg-max. At the points that are chosen then the patches are
// stitched once more. Beyond its inputs and results this takes two score maps of one image and a byte a pixel.
#include <cstring>
#include <tuple>

#include "binding/stage_arguments.h"
#include "cpu/parts/classes.h"
#include "cpu/parts/layout.h"
#include "cpu/parts/margins.h"
#include "cpu/parts/score_pass.h"
#include "cpu/parts/stitcher.h"
#include "cpu/parts/tiles.h"

namespace magnet {
namespace {

constexpr int64_t kPoints = 256;  // replaced at a time

class StageScorer : public RowScorer {
 public:
  Map coarse{};
  const Upsampler* upsampler = nullptr;  // where coarse is smaller than the result
  const Stitcher* stitcher = nullptr;    // null: nothing is scored
  int64_t h = 0, w = 0;
  const bool* covered = nullptr;  // of the image at hand; null: all of it
  Map refined{};                  // the result, or
  uint8_t* labels = nullptr;      // (N, H, W), where not null
  bool streams = false;

  int64_t height() const override { return h; }
  int64_t width() const override { return w; }
  ValidMap valid() const override { return {covered, 0, w, 1}; }

  int64_t scratch_bytes() const override {
    const int64_t block = upsampled_pixels(coarse);
    const int64_t coarse_part = upsampler ? upsampler->scratch_bytes(block) : 0;
    const int64_t fine_part = stitcher ? stitcher->scratch_bytes(block) : 0;
    return 2 * padded_tile() + std::max(coarse_part, fine_part);
  }

  void rows(int64_t image, int64_t y0, int64_t y1, float* scores, char* scratch) const override {
    const int64_t block = upsampled_pixels(coarse);
    for (int64_t y = y0; y < y1; ++y) {
      for (int64_t x = 0; x < w; x += block) {
        pixels(image, y, x, std::min(block, w - x), scores ? scores + y * w + x : nullptr, scratch);
      }
    }
  }

  // Writes the patches' classes at the points, or the highest of them, over those of coarse. Parallel inside.
  void replace(int64_t image, const int64_t* points, int64_t k) const {
    while (k > 0 && points[k - 1] < 0) --k;
    const int64_t chunks = (k + kPoints - 1) / kPoints, tile = padded(coarse.c * kPoints * coarse.item());
    Workspace space(worker_count(chunks), tile + stitcher->scratch_bytes(0));
    for_each_item(chunks, [&](int64_t worker, int64_t chunk) {
      const int64_t* at = points + chunk * kPoints;
      const int64_t n = std::min(kPoints, k - chunk * kPoints);
      char* values = space.of(worker);
      stitcher->points(image, at, n, values + tile, values, kPoints);
      if (labels) {
        uint8_t best[kPoints];
        argmax_planes(coarse.type, values, kPoints, coarse.c, n, best);
        for (int64_t i = 0; i < n; ++i) labels[image * h * w + at[i]] = best[i];
      } else {
        scatter(image, at, n, values);
      }
    });
  }

 private:
  static int64_t padded(int64_t bytes) { return (bytes + 63) / 64 * 64; }
  int64_t padded_tile() const { return padded(upsampled_pixels(coarse) * coarse.c * coarse.item()); }

  // Pixels x to x + n of row y, at most a tile. scores: null where none are wanted.
  void pixels(int64_t image, int64_t y, int64_t x, int64_t n, float* scores, char* scratch) const {
    char *tile = scratch, *fine_tile = scratch + padded_tile(), *rest = scratch + 2 * padded_tile();
    const int64_t block = upsampled_pixels(coarse);
    const char* planes = tile;
    int64_t stride = block;
    if (upsampler) {
      upsampler->pixels(image, y, x, n, rest, tile, block);
    } else if (coarse.planar()) {
      planes = coarse.at(image, y, x);
      stride = coarse.sc;
    } else {
      load_tile(coarse, image, y, x, n, tile, block);
    }
    const bool scored = scores && touches(image, y, x, x + n);
    const bool fold = scored && !labels && refined.planar();
    if (scored) {
      float margins[kMarginBlock];
      margin_planes(coarse.type, planes, stride, coarse.c, n, false, margins, fold ? refined.at(image, y, x) : nullptr,
                    refined.sc, streams);
      stitcher->pixels(image, y, x, n, rest, fine_tile, block);
      margin_planes(coarse.type, fine_tile, block, coarse.c, n, false, scores);
      combine_margins(margins, scores, n);
      clear_uncovered(image, y, x, n, scores);
    } else if (scores) {
      std::fill_n(scores, n, 0.0f);
    }
    if (labels) {
      argmax_planes(coarse.type, planes, stride, coarse.c, n, labels + (image * h + y) * w + x);
    } else if (!fold) {
      store_tile(refined, image, y, x, n, planes, stride);
    }
  }

  bool touches(int64_t image, int64_t y, int64_t begin, int64_t end) const {
    for (const PixelRange& range : stitcher->covered(image, y)) {
      if (range.begin < end && begin < range.end) return true;
    }
    return false;
  }

  void clear_uncovered(int64_t image, int64_t y, int64_t x, int64_t n, float* scores) const {
    int64_t done = x;
    for (const PixelRange& range : stitcher->covered(image, y)) {
      if (range.end <= x || range.begin >= x + n) continue;
      if (range.begin > done) std::fill(scores + done - x, scores + range.begin - x, 0.0f);
      done = std::min(range.end, x + n);
    }
    std::fill(scores + done - x, scores + n, 0.0f);
  }

  void scatter(int64_t image, const int64_t* points, int64_t n, const char* values) const {
    visit_bits(coarse.type, [&](auto zero) {
      using T = decltype(zero);
      const T* from = reinterpret_cast<const T*>(values);
      T* to = reinterpret_cast<T*>(refined.at(image, 0, 0));
      if (refined.pixelwise()) {
        for (int64_t i = 0; i < n; ++i) {
          for (int64_t c = 0; c < refined.c; ++c) to[points[i] * refined.sw + c] = from[c * kPoints + i];
        }
      } else {
        for (int64_t c = 0; c < refined.c; ++c, from += kPoints, to += refined.sc) {
          for (int64_t i = 0; i < n; ++i) to[points[i]] = from[i];
        }
      }
    });
  }
};

// Fills in `stage`, whose result is set, and returns the points.
Tensor run_stage(StageScorer& stage, const Tensor& coarse, const StageArguments& given, int64_t n_points,
                 int64_t kernel_size, bool from_logits) {
  const int64_t n = stage.coarse.n, h = stage.h, w = stage.w, pixels = h * w;
  Tensor points = torch::stable::new_empty(coarse, {n, n_points}, ScalarType::Long);
  if (n == 0) return points;
  int64_t* chosen = static_cast<int64_t*>(points.data_ptr());
  std::unique_ptr<Upsampler> upsampler;
  if (stage.coarse.h != h || stage.coarse.w != w) upsampler = make_upsampler(stage.coarse, h, w);
  stage.upsampler = upsampler.get();
  const std::unique_ptr<Stitcher> stitcher = make_stitcher(given.patches, given.boxes, n, h, w, from_logits);
  bool some = false, all = true;
  for (int64_t image = 0; image < n; ++image) {
    some |= n_points > 0 && !stitcher->empty(image);
    all &= stitcher->full(image);
  }
  const int64_t planes = some ? 1 : 0;
  Tensor raw = new_scores(coarse, planes, h, w), medians = new_scores(coarse, kernel_size > 1 ? planes : 0, h, w);
  Tensor covered = torch::stable::new_empty(coarse, {all ? 0 : planes, h, w}, ScalarType::Bool);
  prefer_large_pages(raw, raw.numel() * 4);
  prefer_large_pages(medians, medians.numel() * 4);
  float* scores = static_cast<float*>(raw.data_ptr());
  float* filtered = kernel_size > 1 ? static_cast<float*>(medians.data_ptr()) : scores;
  bool* cover = static_cast<bool*>(covered.data_ptr());
  stage.stitcher = stitcher.get();
  ScorePass pass(stage, static_cast<int>(kernel_size));
  Workspace scratch(worker_count(h), stage.scratch_bytes());

  for (int64_t image = 0; image < n; ++image, chosen += n_points) {
    if (!some || stitcher->empty(image)) {
      for_each_item(h, [&](int64_t worker, int64_t y) { stage.rows(image, y, y + 1, nullptr, scratch.of(worker)); });
      std::fill_n(chosen, n_points, -1);
      continue;
    }
    stage.covered = stitcher->full(image) ? nullptr : cover;
    if (stage.covered) {
      std::memset(cover, 0, pixels);
      for (int64_t y = 0; y < h; ++y) {
        for (const PixelRange& range : stitcher->covered(image, y)) {
          std::memset(cover + y * w + range.begin, 1, range.end - range.begin);
        }
      }
    }
    const std::vector<SelectHistogram>& histograms = pass.run(image, scores, filtered, true);
    select_highest(Element::f32, score_plane(filtered, h, w, stage.valid(), image), n_points, chosen, histograms.data(),
                   static_cast<int64_t>(histograms.size()));
    stage.replace(image, chosen, n_points);
  }
  return points;
}

StageArguments read_arguments(const Tensor& coarse, const Tensor& patches, const Tensor& boxes, int64_t height,
                              int64_t width, int64_t n_points, int64_t kernel_size) {
  StageArguments given = read_stage_arguments(coarse, patches, boxes, height, width, n_points, kernel_size);
  check(std::max(width, given.patches.w) < (int64_t{1} << 31), "size: expected rows of less than 2**31 pixels");
  return given;
}

StageScorer new_scorer(const StageArguments& given, int64_t height, int64_t width) {
  StageScorer stage;
  stage.coarse = given.coarse;
  stage.h = height;
  stage.w = width;
  return stage;
}

std::tuple<Tensor, Tensor> refine_stage(const Tensor& coarse, const Tensor& patches, const Tensor& boxes,
                                        int64_t height, int64_t width, int64_t n_points, int64_t kernel_size,
                                        bool from_logits) {
  const StageArguments given = read_arguments(coarse, patches, boxes, height, width, n_points, kernel_size);
  StageScorer stage = new_scorer(given, height, width);
  Tensor refined = new_large_map(coarse, given.coarse.n, given.coarse.c, height, width, is_channels_last(coarse));
  stage.refined = view(refined, "refined");
  stage.streams = outgrows_caches(refined.numel() * stage.refined.item());
  return {refined, run_stage(stage, coarse, given, n_points, kernel_size, from_logits)};
}

std::tuple<Tensor, Tensor> refine_stage_labels(const Tensor& coarse, const Tensor& patches, const Tensor& boxes,
                                               int64_t height, int64_t width, int64_t n_points, int64_t kernel_size,
                                               bool from_logits) {
  const StageArguments given = read_arguments(coarse, patches, boxes, height, width, n_points, kernel_size);
  check_labels(given.coarse.c);
  StageScorer stage = new_scorer(given, height, width);
  Tensor labels = torch::stable::new_empty(coarse, {given.coarse.n, height, width}, ScalarType::Byte);
  prefer_large_pages(labels, labels.numel());
  stage.labels = static_cast<uint8_t*>(labels.data_ptr());
  return {labels, run_stage(stage, coarse, given, n_points, kernel_size, from_logits)};
}

}  // namespace
}  // namespace magnet

STABLE_TORCH_LIBRARY_FRAGMENT(magnet_kernels, m) {
  m.def(
      "refine_stage(Tensor coarse, Tensor patches, Tensor boxes, SymInt height, SymInt width, SymInt n_points, int "
      "kernel_size, bool from_logits) -> (Tensor, Tensor)");
  m.def(
      "refine_stage_labels(Tensor coarse, Tensor patches, Tensor boxes, SymInt height, SymInt width, SymInt n_points, "
      "int kernel_size, bool from_logits) -> (Tensor, Tensor)");
}

STABLE_TORCH_LIBRARY_IMPL(magnet_kernels, CPU, m) {
  m.impl("refine_stage", TORCH_BOX(&magnet::refine_stage));
  m.impl("refine_stage_labels", TORCH_BOX(&magnet::refine_stage_labels));
}
