// By radix: digit by digit, counts find the K-th highest key; then one pass counts what each part of the image chooses,
// and one lists it.
#include "cpu/parts/select.h"

#include <type_traits>
#include <utility>

#include "common/order_key.h"
#include "cpu/parts/tensors.h"

namespace magnet {
namespace {

struct Tally {
  int64_t above = 0, equal = 0;
};

}  // namespace
}  // namespace magnet

#define MAGNET_KERNEL_FILE "cpu/simd/select_points_kernel.h"
#include "cpu/simd/foreach_isa.h"

namespace magnet {
namespace {

constexpr int64_t kChunk = 1 << 16;  // pixels that one thread takes at a time

// Rows that follow each other without a gap, in scores and mask, are one long row.
ScorePlane dense_as_one_row(ScorePlane plane) {
  const bool no_mask = plane.mask == nullptr;
  if (plane.w == 1) {
    std::swap(plane.w, plane.h);
    plane.sx = plane.sy;
    plane.mask_sx = plane.mask_sy;
  } else if (plane.sy == plane.w * plane.sx && (no_mask || plane.mask_sy == plane.w * plane.mask_sx)) {
    plane.w *= plane.h;
    plane.h = 1;
  }
  return plane;
}

template <class Format>
class Selection {
  static constexpr bool kWide = sizeof(typename Format::Bits) == 8;
  using Key = std::conditional_t<kWide, uint64_t, uint32_t>;
  static constexpr int kKeyBits = 8 * sizeof(Key);
  static constexpr int kLowestBit = kKeyBits - 8 * sizeof(typename Format::Bits);  // the bits below it are 0

 public:
  explicit Selection(const ScorePlane& plane) : plane_(dense_as_one_row(plane)), pixels_(plane.h * plane.w) {}

  void run(int64_t k, int64_t* out, const SelectHistogram* histograms, int64_t histogram_count) {
    const int64_t chosen = find_threshold(k, histograms, histogram_count);
    if (chosen > 0) list(chosen, out);
    std::fill(out + chosen, out + k, -1);
  }

 private:
  int64_t chunks() const { return (pixels_ + kChunk - 1) / kChunk; }
  int64_t chunk_end(int64_t chunk) const { return std::min(pixels_, (chunk + 1) * kChunk); }

  // Sets threshold_ and take_all_; returns how many pixels will be chosen: k, or all the valid ones.
  int64_t find_threshold(int64_t k, const SelectHistogram* given, int64_t given_count) {
    std::vector<SelectHistogram> own;
    std::vector<int64_t> count(1 << SelectHistogram::kDigitBits);
    int64_t chosen = k, wanted = k;  // wanted: the rank, from 1, of the threshold among keys that begin with its digits
    Key prefix = 0;
    for (int shift = kKeyBits, bits; shift > kLowestBit; prefix = prefix << bits | threshold_) {
      const bool leading = shift == kKeyBits;
      bits = std::min(SelectHistogram::kDigitBits, shift - kLowestBit);
      shift -= bits;
      if (!leading || given == nullptr) {
        own.assign(worker_count(chunks()), SelectHistogram{});
        for_each_item(chunks(), [&](int64_t worker, int64_t chunk) {
          MAGNET_BEST(count_digits<Format>)(plane_, chunk * kChunk, chunk_end(chunk), shift, bits, prefix, own[worker]);
        });
        add_up(own.data(), static_cast<int64_t>(own.size()), count);
      } else {
        add_up(given, given_count, count);
      }
      if (leading) {  // no valid key begins with the digit 0
        chosen = wanted = std::min(k, pixels_ - count[0]);
        if (chosen == 0) return 0;
      }
      int64_t digit = (int64_t{1} << bits) - 1;
      for (; wanted > count[digit]; --digit) wanted -= count[digit];
      threshold_ = static_cast<Key>(digit);
      if (wanted == count[digit]) {  // all that begin so: no need to look closer
        threshold_ = (prefix << bits | threshold_) << shift;
        take_all_ = true;
        return chosen;
      }
    }
    threshold_ = prefix << kLowestBit;
    take_all_ = false;
    return chosen;
  }

  static void add_up(const SelectHistogram* histograms, int64_t n, std::vector<int64_t>& count) {
    std::fill(count.begin(), count.end(), 0);
    for (int64_t i = 0; i < n; ++i) {
      for (const auto& table : histograms[i].count) {
        for (size_t digit = 0; digit < count.size(); ++digit) count[digit] += table[digit];
      }
    }
  }

  // Lists every key above the threshold, and of those that equal it as many as are missing, from the first on.
  void list(int64_t chosen, int64_t* out) {
    std::vector<Tally> tally(chunks() + 1);
    const Key above = take_all_ ? threshold_ - 1 : threshold_;  // a valid key is never 0
    if (chunks() > 1 || !take_all_) {
      for_each_item(chunks(), [&](int64_t, int64_t chunk) {
        tally[chunk + 1] = MAGNET_BEST(count_above<Format>)(plane_, chunk * kChunk, chunk_end(chunk), above);
      });
    }
    for (int64_t i = 1; i <= chunks(); ++i) {
      tally[i].above += tally[i - 1].above;
      tally[i].equal += tally[i - 1].equal;
    }
    const int64_t ties = take_all_ ? 0 : chosen - tally.back().above;
    int64_t ties_end = 0;  // equal keys before this flat index are chosen
    for (int64_t i = 0; i < chunks() && ties > 0; ++i) {
      if (tally[i + 1].equal < ties) continue;
      ties_end =
          1 + MAGNET_BEST(find_equal<Format>)(plane_, i * kChunk, chunk_end(i), threshold_, ties - 1 - tally[i].equal);
      break;
    }
    for_each_item(chunks(), [&](int64_t, int64_t chunk) {
      const int64_t begin = chunk * kChunk, end = chunk_end(chunk), middle = std::clamp(ties_end, begin, end);
      int64_t* next = out + tally[chunk].above + std::min(tally[chunk].equal, ties);
      const auto list_above = MAGNET_BEST(list_above<Format>);
      if (middle > begin) next += list_above(plane_, begin, middle, threshold_ - 1, next);
      if (end > middle) list_above(plane_, middle, end, above, next);
    });
  }

  ScorePlane plane_;
  int64_t pixels_;
  Key threshold_ = 0;
  bool take_all_ = false;
};

}  // namespace

void add_to_histogram(const float* score, const bool* mask, int64_t mask_stride, int64_t count,
                      SelectHistogram& histogram) {
  const ScorePlane plane{score, 1, count, count, 1, reinterpret_cast<const uint8_t*>(mask), 0, mask_stride};
  constexpr int bits = SelectHistogram::kDigitBits;
  if (count > 0) MAGNET_BEST(count_digits<Float32Format>)(plane, 0, count, 32 - bits, bits, 0, histogram);
}

void select_highest(Element type, const ScorePlane& plane, int64_t k, int64_t* out, const SelectHistogram* histograms,
                    int64_t histogram_count) {
  if (k == 0) return;
  switch (type) {
    case Element::f32:
      return Selection<Float32Format>(plane).run(k, out, histograms, histogram_count);
    case Element::f16:
      return Selection<Float16Format>(plane).run(k, out, histograms, histogram_count);
    case Element::bf16:
      return Selection<BFloat16Format>(plane).run(k, out, histograms, histogram_count);
    case Element::f64:
      return Selection<Float64Format>(plane).run(k, out, histograms, histogram_count);
  }
}

}  // namespace magnet
