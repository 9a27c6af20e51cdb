#include "cpu/parts/score_pass.h"

#include "cpu/parts/median.h"

namespace magnet {
namespace {

// Rows of a strip: several strips a thread, none so low that most of it would wait for its neighbours.
int64_t strip_rows(int64_t h, int kernel_size) {
  const int64_t threads = std::max<int64_t>(torch::stable::get_num_threads(), 1);
  return std::clamp<int64_t>((h + 8 * threads - 1) / (8 * threads), std::max<int64_t>(16, 4 * (kernel_size / 2)), 64);
}

constexpr int64_t kBand = 1 << 15;  // pixels scored before their medians are taken: they are still in L2 then

}  // namespace

ScorePass::ScorePass(const RowScorer& scorer, int kernel_size)
    : scorer_(scorer),
      h_(scorer.height()),
      w_(scorer.width()),
      kernel_size_(kernel_size),
      segment_(strip_rows(h_, kernel_size)),
      segments_((h_ + segment_ - 1) / segment_),
      scratch_(worker_count(segments_), scorer.scratch_bytes()),
      histograms_(worker_count(segments_)) {}

const std::vector<SelectHistogram>& ScorePass::run(int64_t image, float* scores, float* medians, bool counts) {
  const int64_t h = h_, reach = kernel_size_ / 2;
  const int64_t band = std::max<int64_t>(1, kBand / std::max<int64_t>(w_, 1));
  counts_ = counts;
  if (counts_) std::fill(histograms_.begin(), histograms_.end(), SelectHistogram{});
  for_each_item(segments_, [&](int64_t worker, int64_t segment) {
    const int64_t y0 = segment * segment_, y1 = std::min(h, y0 + segment_);
    int64_t done = y0 == 0 ? 0 : y0 + reach;  // the next row to filter
    for (int64_t y = y0; y < y1; y += band) {
      const int64_t end = std::min(y1, y + band);
      scorer_.rows(image, y, end, scores, scratch_.of(worker));
      const int64_t ready = end == h ? h : end - reach;
      if (ready > done) {
        finish_rows(image, done, ready, scores, medians, worker);
        done = ready;
      }
    }
  });
  if (reach > 0 && segments_ > 1) {
    for_each_item(segments_ - 1, [&](int64_t worker, int64_t segment) {
      const int64_t seam = (segment + 1) * segment_;
      finish_rows(image, seam - reach, std::min(h, seam + reach), scores, medians, worker);
    });
  }
  return histograms_;
}

void ScorePass::finish_rows(int64_t image, int64_t y0, int64_t y1, const float* scores, float* medians,
                            int64_t worker) {
  if (kernel_size_ > 1) median_blur_rows(Element::f32, {scores, w_, 1, medians, w_, 1, h_, w_}, kernel_size_, y0, y1);
  if (!counts_) return;
  const float* result = kernel_size_ > 1 ? medians : scores;
  const ValidMap map = scorer_.valid();
  const bool* valid = map.image(image);
  for (int64_t y = y0; y < y1; ++y) {
    add_to_histogram(result + y * w_, valid ? valid + y * map.sy : nullptr, map.sx, w_, histograms_[worker]);
  }
}

}  // namespace magnet
