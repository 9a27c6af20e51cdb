#include <algorithm>

#include "cuda/confidence.h"
#include "cuda/patch_uncertainty.cuh"

namespace magnet::cuda {
namespace {

struct Plan {
  int64_t confidence = 0, sums = 0;  // bytes; no confidence map where the boxes cover only a part of the map
  int bands = 1;                     // of each box

  Plan(const Map& coarse, const std::vector<Rect>& boxes) {
    int64_t total = 0, largest = 0;
    for (const Rect& box : boxes) {
      const PixelRange rows = clip(box.y0, box.y1, coarse.h), columns = clip(box.x0, box.x1, coarse.w);
      const int64_t pixels = (rows.end - rows.begin) * (columns.end - columns.begin);
      total += pixels;
      largest = std::max(largest, pixels);
    }
    const int64_t map = coarse.n * coarse.h * coarse.w;
    if (total > map / 2) confidence = (map * 4 + 255) / 256 * 256;
    // Bands of a made map in one round of blocks; where each pixel takes all classes, more of them.
    bands = static_cast<int>(std::clamp<int64_t>(largest / (confidence > 0 ? 8192 : 2048), 1, 256));
    sums = static_cast<int64_t>(boxes.size()) * bands * sizeof(double);
  }
};

}  // namespace

int64_t patch_uncertainty_workspace(const Map& coarse, const std::vector<Rect>& boxes) {
  const Plan plan(coarse, boxes);
  return plan.confidence + plan.sums + rect_bytes(static_cast<int64_t>(boxes.size()));
}

void launch_patch_uncertainty(const Map& coarse, const std::vector<Rect>& boxes, bool from_logits, float* out,
                              void* workspace, const Stream& stream) {
  const Plan plan(coarse, boxes);
  const int64_t count = static_cast<int64_t>(boxes.size()), blocks = count * plan.bands;
  char* const memory = static_cast<char*>(workspace);
  const Rects list = list_of<kFewRects>(boxes, memory + plan.confidence + plan.sums, stream);
  const Global<double> sums = global<double>(memory + plan.confidence, blocks);
  const auto sum = [&](auto source) {
    launch("patch_uncertainty", sum_bands<decltype(source)>, blocks, kBandThreads, stream, source, list, plan.bands,
           sums);
  };
  if (plan.confidence > 0) {
    confidence(coarse, from_logits, reinterpret_cast<float*>(memory), stream);
    sum(ConfidenceMap{global<const float>(memory, coarse.n * coarse.h * coarse.w), coarse.h, coarse.w});
  } else {
    visit_element(coarse.type, [&](auto zero) {
      using T = decltype(zero);
      const View<const T> map = view_of<const T>(coarse);
      if (from_logits) {
        sum(ConfidenceOf<T, true>{map, coarse.h, coarse.w});
      } else {
        sum(ConfidenceOf<T, false>{map, coarse.h, coarse.w});
      }
    });
  }
  constexpr int kThreads = 128;
  launch("patch_uncertainty", mean_of_boxes<kThreads>, (count * 32 + kThreads - 1) / kThreads, kThreads, stream,
         global<const double>(memory + plan.confidence, blocks), list, plan.bands, coarse.h, coarse.w,
         global<float>(out, count));
}

}  // namespace magnet::cuda
