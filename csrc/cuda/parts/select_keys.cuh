// Selection keys of scores, and what makes them: they are stored, and their leading digits counted.
#pragma once

#include "common/order_key.h"
#include "cuda/parts/map.cuh"
#include "cuda/parts/select_digits.cuh"
#include "cuda/parts/selection.h"

namespace magnet::cuda {

constexpr int kLowBits = 20;  // of a key, below its leading digit, at the most
using ScoreKey = OrderKey<Float32Format>;
constexpr uint32_t kZeroKey = ScoreKey::kWrap + ScoreKey::kSign;  // of the score 0
static_assert(kFineCounts == 1 << kLowBits);
static_assert(ScoreKey::kSelectNan >> kLowBits > 0, "only invalid pixels have the leading digit 0");

// The leading digit of a key: its first 12 bits, that is sign, exponent and three bits more; of scores from 1/32 to 1,
// where those of uncertain pixels are, four bits further, so that few keys share one.
struct LeadingDigit {
  static constexpr int kCloseBits = 16;                              // of a key below such a digit
  static constexpr uint32_t kFrom = 0xbd800000u, kTo = 0xc0000000u;  // the keys that are looked at so closely
  static constexpr uint32_t kClose = (kTo - kFrom) >> kCloseBits, kFirst = kFrom >> kLowBits;
  static constexpr uint32_t kMore = kClose - ((kTo - kFrom) >> kLowBits);  // digits than without
  static_assert((1 << (32 - kLowBits)) + kMore <= kLeadingDigits);

  MAGNET_HOST_DEVICE static constexpr uint32_t of(uint32_t key) {
    if (key - kFrom < kTo - kFrom) return kFirst + ((key - kFrom) >> kCloseBits);
    return (key >> kLowBits) + (key >= kTo ? kMore : 0);
  }
  MAGNET_HOST_DEVICE static constexpr bool is_close(uint32_t digit) { return digit - kFirst < kClose; }
  // The keys with a digit: so many bits follow it, and they begin with this one.
  MAGNET_HOST_DEVICE static constexpr int bits(uint32_t digit) { return is_close(digit) ? kCloseBits : kLowBits; }
  MAGNET_HOST_DEVICE static constexpr uint32_t lowest(uint32_t digit) {
    if (is_close(digit)) return kFrom + ((digit - kFirst) << kCloseBits);
    return (digit - (digit > kFirst ? kMore : 0)) << kLowBits;
  }
};

// The state of an image: kStateWords of uint32, all 0 at first, by which kernels tell later ones what they have found.
enum StateWord {
  kResult,     // 64 bits, see Threshold; 0 until it is known
  kFound = 4,  // four words, see Candidates
};

// The workspace on the device; see struct Workspace.
struct SelectTables {
  Global<uint32_t> keys;
  Global<uint32_t> ticket, state, leading, second, fine;
  Global<uint64_t> words;
  int64_t pitch;
  uint32_t pixels, k;

  MAGNET_DEVICE CountTable<kLeadingDigits> leading_of(int64_t image) const {
    return {leading + image * CountTable<kLeadingDigits>::kWords};
  }
  MAGNET_DEVICE CountTable<kSelectDigits> second_of(int64_t image) const {
    return {second + image * CountTable<kSelectDigits>::kWords};
  }
  MAGNET_DEVICE Global<uint32_t> state_of(int64_t image) const { return state + image * kStateWords; }
};

inline SelectTables select_tables(const Selection& s) {
  const Workspace at(s);
  const bool counts = !s.block_an_image();
  const auto table = [&](int64_t offset, int64_t elements) {
    return global<uint32_t>(counts ? s.workspace + offset : nullptr, counts ? elements : 0);
  };
  return {global<uint32_t>(s.workspace + at.keys, s.n * s.pitch()),
          table(at.ticket, s.n),
          table(at.state, s.n * kStateWords),
          table(at.leading, s.n * (kGroups + kLeadingDigits)),
          table(at.second, s.n * (kGroups + kSelectDigits)),
          table(at.fine, s.n * s.fine_counts()),
          global<uint64_t>(counts ? s.workspace + at.words : nullptr, counts ? s.n * s.tiles() : 0),
          s.pitch(),
          static_cast<uint32_t>(s.pixels()),
          static_cast<uint32_t>(s.k)};
}

// The candidates for the K-th highest key: those with its leading digit.
struct Candidates {
  uint32_t chosen;  // how many points there will be: K, or all valid pixels where there are fewer
  uint32_t from;    // the lowest key that is a candidate,
  uint32_t bits;    // and how many bits tell them apart
  uint32_t wanted;  // the rank of the K-th highest key among them, from 1 for the highest; 0: it needs no search, as
                    // all of them are chosen, or none

  MAGNET_DEVICE bool has(uint32_t key) const { return (key - from) >> bits == 0; }
  MAGNET_DEVICE void tell(Global<uint32_t> state) const {
    store<4>(state + kFound, Pack<uint32_t, 4>{{chosen, from, bits, wanted}});
  }
  MAGNET_DEVICE static Candidates told(Global<const uint32_t> state) {
    const Pack<uint32_t, 4> four = load<4>(state + kFound);
    return {four.value[0], four.value[1], four.value[2], four.value[3]};
  }
};

// From the counts of the leading digits. All threads of a block; `scratch` is free to use before and after.
MAGNET_DEVICE Candidates find_candidates(const SelectTables& tables, int64_t image, Shared<uint32_t> scratch) {
  if (threadIdx.x < 32) {
    const CountTable<kLeadingDigits> table = tables.leading_of(image);
    const auto sums = table.load_groups();
    const uint32_t invalid = table.bins()[0], all = tables.pixels - invalid;
    const uint32_t zeros = tables.pixels - warp_sum(sums.upper + sums.lower);  // which nobody counts
    const uint32_t chosen = min(tables.k, all);
    const Rank rank = table.find(sums, chosen > 0 ? chosen : 1, LeadingDigit::of(kZeroKey), zeros);
    if (threadIdx.x == 0) {
      const bool search = chosen > 0 && rank.wanted < rank.count;
      scratch[0] = chosen;
      scratch[1] = chosen > 0 ? LeadingDigit::lowest(rank.digit) : 0;
      scratch[2] = LeadingDigit::bits(rank.digit);
      scratch[3] = search ? rank.wanted : 0;
    }
  }
  __syncthreads();
  const Candidates result{scratch[0], scratch[1], scratch[2], scratch[3]};
  __syncthreads();
  return result;
}

// The second digit of the K-th highest key, of rank `wanted` among the candidates. One warp.
MAGNET_DEVICE Rank find_second(const SelectTables& tables, int64_t image, uint32_t wanted) {
  const CountTable<kSelectDigits> table = tables.second_of(image);
  return table.find(table.load_groups(), wanted);
}

// All keys above `key` are chosen, and so many that equal it, from the lowest index on. A key that is above all or
// below some valid key stands for "none" and "all of them".
struct Threshold {
  uint32_t key, ties;

  // In one word, so that nothing else need be seen in its order.
  static constexpr uint64_t kKnown = uint64_t{1} << 63;
  MAGNET_DEVICE static Threshold of_word(uint64_t word) {
    return {static_cast<uint32_t>(word), static_cast<uint32_t>((word & ~kKnown) >> 32)};
  }
  MAGNET_DEVICE uint64_t word() const { return kKnown | uint64_t{ties} << 32 | key; }
};

// Finds the threshold from the counts of the candidates: of all their lower bits, or of their last 8 where `at_once` is
// false. One warp; what it usually needs it asks for at first, so that there are other things to do before find().
class ThresholdSearch {
 public:
  ThresholdSearch() = default;
  MAGNET_DEVICE ThresholdSearch(const SelectTables& tables, int64_t image)
      : candidates_(Candidates::told(tables.state_of(image))), close_(tables.second_of(image).bins()) {}

  MAGNET_DEVICE Threshold find(const SelectTables& tables, int64_t image, bool at_once) const {
    const uint32_t from = candidates_.from, wanted = candidates_.wanted;
    if (wanted == 0) return {from - 1, 0};
    const Rank second = candidates_.bits <= 16 ? close_.find(wanted) : find_second(tables, image, wanted);
    const uint32_t begin = from + (second.digit << 8);
    if (second.wanted == second.count) return {begin - 1, 0};
    const int64_t fine = image * (at_once ? kFineCounts : kLowCounts) + (at_once ? second.digit << 8 : 0);
    const Rank last = Counts256(tables.fine + fine).find(second.wanted);
    return {begin + last.digit, last.wanted};
  }

 private:
  Candidates candidates_;
  Counts256 close_;  // of the candidates' second digits, where these have up to 8 bits
};

// Takes the keys of an image's pixels: the sink of the median kernels (median_few.cuh), and what make_keys uses.
struct KeySink {
  SelectTables tables;
  ValidView valid;
  int64_t w;
  bool counts;  // otherwise keys are only stored

  static constexpr int kSharedBytes = kLeadingDigits * 4;
  static constexpr bool kFollows = true;

  class Block {
   public:
    MAGNET_DEVICE Block(const KeySink& sink, int64_t image, int64_t blocks_of_image)
        : sink_(sink), image_(image), pads_(blockIdx.x == image * blocks_of_image) {
      MAGNET_SHARED(uint32_t, bins, kLeadingDigits);
      bins_ = bins;
      if (sink_.counts) clear<kLeadingDigits>(bins_);
      __syncthreads();
    }

    // Median keys of pixels (y, x) .. (y, x + count - 1). All lanes of a warp.
    MAGNET_DEVICE void put(int64_t y, int64_t x, const int32_t (&median_key)[4], int count) {
      const uint32_t valid = sink_.valid.four(image_, y, x, count);
      Pack<uint32_t, 4> keys;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        keys.value[i] = valid >> i & 1 ? ScoreKey::selection_of_median(median_key[i]) : ScoreKey::kInvalid;
      }
      put_keys(y * sink_.w + x, keys, count);
    }

    // Selection keys of pixels index .. index + count - 1, counted along the rows. All lanes of a warp.
    MAGNET_DEVICE void put_keys(int64_t index, const Pack<uint32_t, 4>& keys, int count) {
      const Global<uint32_t> to = sink_.tables.keys + (image_ * sink_.tables.pitch + index);
      if (count == 4 && index % 4 == 0) {
        store<4>(opaque(to), keys);  // else the compiler makes one of both branches: single elements
      } else {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (i < count) to[i] = keys.value[i];
        }
      }
      if (!sink_.counts) return;
      bool counts[4];
      uint32_t digit[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        counts[i] = i < count && keys.value[i] != kZeroKey;
        digit[i] = LeadingDigit::of(keys.value[i]);
      }
      count_digits(bins_, counts, digit, [](uint32_t one) { return LeadingDigit::is_close(one); });
    }

    MAGNET_DEVICE void end() {
      if (pads_) pad();
      if (!sink_.counts) return;
      __syncthreads();
      sink_.tables.leading_of(image_).add(bins_);
    }

   private:
    // What is read along with the last keys of an image are keys of invalid pixels.
    MAGNET_DEVICE void pad() const {
      const int64_t index = sink_.tables.pixels + threadIdx.x;
      if (index < sink_.tables.pitch) sink_.tables.keys[image_ * sink_.tables.pitch + index] = ScoreKey::kInvalid;
    }

    const KeySink& sink_;
    int64_t image_;
    bool pads_;
    Shared<uint32_t> bins_;
  };
};

inline KeySink key_sink(const Selection& s) {
  return {select_tables(s), view_of(s.valid, s.n, s.h, s.w), s.w, !s.block_an_image()};
}

}  // namespace magnet::cuda
