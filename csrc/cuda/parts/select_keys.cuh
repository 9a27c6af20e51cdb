// Selection keys of scores, and what makes them: they are stored, their leading digits counted, and that of the K-th
// highest found, by all blocks of an image together.
#pragma once

#include "common/order_key.h"
#include "cuda/parts/map.cuh"
#include "cuda/parts/select_digits.cuh"
#include "cuda/parts/selection.h"

namespace magnet::cuda {

constexpr int kLowBits = 20;  // of a key, below its leading digit
using ScoreKey = OrderKey<Float32Format>;
constexpr uint32_t kZeroKey = ScoreKey::kWrap + ScoreKey::kSign;  // of the score 0
static_assert(kSelectDigits << kLowBits == int64_t{1} << 32 && kFineCounts == 1 << kLowBits);
static_assert(ScoreKey::kSelectNan >> kLowBits > 0, "only invalid pixels have the leading digit 0");

// The state of an image: kStateWords of uint32 by which its blocks tell each other how far they are and what they have
// found. Word by word, all 0 at first:
enum StateWord {
  kKeysDone,       // how many blocks have made their keys
  kThresholdDone,  // how many blocks have counted the keys with the leading digit kDigit
  kDecided,        // 1 once kThreshold and kTies are final
  kDigit,          // the leading digit of the K-th highest key
  kWanted,         // the rank of that key among those with its leading digit, from 1 for the highest
  kChosen,         // how many points there will be: K, or all valid pixels where there are fewer
  kThreshold,      // the key above which all are chosen
  kTies,           // how many of the keys that equal kThreshold are chosen too, from the lowest index on
  // where digits are counted one by one:
  kSecondDone,        // how many blocks have counted the second digit
  kTwoDigits,         // the leading two digits of the K-th highest key
  kTwoDigitsWanted,   // its rank among the keys with these two, from 1 for the highest
  kTwoDigitsDecided,  // 1 where all keys with these two are chosen: kThreshold and kTies are final
};

// The workspace on the device; see struct Workspace.
struct SelectTables {
  Global<uint32_t> keys;
  Global<uint32_t> ticket, state, leading, second, fine;
  Global<uint64_t> words;
  int64_t pitch;
  uint32_t pixels, k;
};

inline SelectTables select_tables(const Selection& s) {
  const Workspace at(s);
  const bool counts = !s.block_an_image();
  const auto table = [&](int64_t offset, int64_t elements) {
    return global<uint32_t>(counts ? s.workspace + offset : nullptr, counts ? elements : 0);
  };
  return {global<uint32_t>(s.workspace + at.keys, s.n * s.pitch()),
          table(at.ticket, 1),
          table(at.state, s.n * kStateWords),
          table(at.leading, s.n * kSelectDigits),
          table(at.second, s.n * kSelectDigits),
          table(at.fine, s.n * s.fine_counts()),
          global<uint64_t>(counts ? s.workspace + at.words : nullptr, counts ? s.n * s.tiles() : 0),
          s.pitch(),
          static_cast<uint32_t>(s.pixels()),
          static_cast<uint32_t>(s.k)};
}

// Takes the keys of an image's pixels: the sink of the median kernels (median_few.cuh), and what make_keys uses. The
// last block of an image finds the leading digit of the K-th highest key.
struct KeySink {
  SelectTables tables;
  ValidView valid;
  int64_t w;
  bool counts;  // otherwise keys are only stored

  static constexpr int kSharedBytes = (kSelectDigits + kScratchWords) * 4;

  class Block {
   public:
    MAGNET_DEVICE Block(const KeySink& sink, int64_t image, int64_t blocks_of_image)
        : sink_(sink), image_(image), blocks_(static_cast<uint32_t>(blocks_of_image)) {
      if (blockIdx.x == image * blocks_of_image) pad();
      MAGNET_SHARED(uint32_t, bins, kSelectDigits);
      MAGNET_SHARED(uint32_t, scratch, kScratchWords);
      bins_ = bins;
      scratch_ = scratch;
      if (!sink_.counts) return;
      for (uint32_t i = threadIdx.x; i < kSelectDigits; i += blockDim.x) bins_[i] = 0;
      __syncthreads();
    }

    // Median keys of pixels (y, x) .. (y, x + count - 1). All lanes of a warp.
    MAGNET_DEVICE void put(int64_t y, int64_t x, const int32_t (&median_key)[4], int count) {
      Pack<uint32_t, 4> keys;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        keys.value[i] = i < count && sink_.valid.at(image_, y, x + i) ? ScoreKey::selection_of_median(median_key[i])
                                                                      : ScoreKey::kInvalid;
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
        digit[i] = keys.value[i] >> kLowBits;
      }
      count_digits(bins_, counts, digit);
    }

    MAGNET_DEVICE void end() {
      if (!sink_.counts) return;
      const Global<uint32_t> counts = sink_.tables.leading + image_ * kSelectDigits;
      const Global<uint32_t> state = sink_.tables.state + image_ * kStateWords;
      __syncthreads();
      for (uint32_t i = threadIdx.x; i < kSelectDigits; i += blockDim.x) {
        if (bins_[i] != 0) add_relaxed(counts + i, bins_[i]);
      }
      if (!is_last_block(state + kKeysDone, blocks_, scratch_)) return;
      uint32_t counted = 0;
      for (uint32_t i = threadIdx.x; i < kSelectDigits; i += blockDim.x) counted += bins_[i] = counts[i];
      counted = block_scan(counted, scratch_).total;
      if (threadIdx.x == 0) bins_[kZeroKey >> kLowBits] += sink_.tables.pixels - counted;
      __syncthreads();
      find_leading_digit(state);
    }

   private:
    // What is read along with the last keys of an image are keys of invalid pixels.
    MAGNET_DEVICE void pad() const {
      const int64_t index = sink_.tables.pixels + threadIdx.x;
      if (index < sink_.tables.pitch) sink_.tables.keys[image_ * sink_.tables.pitch + index] = ScoreKey::kInvalid;
    }

    MAGNET_DEVICE void find_leading_digit(Global<uint32_t> state) {
      const uint32_t all = sink_.tables.pixels - bins_[0], chosen = sink_.tables.k < all ? sink_.tables.k : all;
      Rank rank{0, 0, 0};
      if (chosen > 0) rank = find_digit<kSelectDigits>(bins_, chosen, scratch_);
      if (threadIdx.x != 0) return;
      state[kChosen] = chosen;
      state[kDigit] = rank.digit;
      state[kWanted] = rank.wanted;
      if (rank.wanted == rank.count) {  // all keys with this digit, or none at all: no need to look closer
        state[kThreshold] = (rank.digit << kLowBits) - 1;
        state[kTies] = 0;
        state[kDecided] = 1;
      }
    }

    const KeySink& sink_;
    int64_t image_;
    uint32_t blocks_;
    Shared<uint32_t> bins_, scratch_;
  };
};

inline KeySink key_sink(const Selection& s) {
  return {select_tables(s), view_of(s.valid, s.n, s.h, s.w), s.w, !s.block_an_image()};
}

}  // namespace magnet::cuda
