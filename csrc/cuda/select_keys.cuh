// Selection keys of scores, the counts of their leading digits, and the search for the digit of the K-th highest.
#pragma once

#include "common/order_key.h"
#include "cuda/map.cuh"
#include "cuda/select_points.h"

namespace magnet::cuda {

constexpr uint32_t kFullWarp = 0xffffffffu;
constexpr int kLowBits = 20;  // of a key, below its leading digit
using ScoreKey = OrderKey<Float32Format>;
constexpr uint32_t kZeroKey = ScoreKey::kWrap + ScoreKey::kSign;  // of the score 0
static_assert(kSelectDigits << kLowBits == int64_t{1} << 32 && kFineCounts == 1 << kLowBits);
static_assert(ScoreKey::kSelectNan >> kLowBits > 0, "only invalid pixels have the leading digit 0");

// What is known of an image, words of its state. All 0 at first.
enum StateWord {
  kKeysDone,       // blocks that have made their keys
  kThresholdDone,  // blocks that have counted their candidates
  kDecided,        // kThreshold and kTies are final
  kDigit,          // the leading digit of the K-th highest key
  kWanted,         // its rank, from 1, among the keys with that digit
  kChosen,         // how many points there will be: K, or all valid ones
  kThreshold,      // all higher keys are chosen,
  kTies,           // and of those that equal it so many, from the lowest index on
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
          table(at.fine, s.n * kFineCounts),
          global<uint64_t>(counts ? s.workspace + at.words : nullptr, counts ? s.n * s.tiles() : 0),
          s.pitch(),
          static_cast<uint32_t>(s.pixels()),
          static_cast<uint32_t>(s.k)};
}

// --- within a block

MAGNET_DEVICE uint32_t lane_index() { return threadIdx.x % 32; }

MAGNET_DEVICE uint32_t warp_sum(uint32_t x) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(kFullWarp, x, distance);
  return x;
}

// The sum over the lanes up to this one.
MAGNET_DEVICE uint32_t warp_scan(uint32_t x) {
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const uint32_t below = __shfl_up_sync(kFullWarp, x, distance);
    if (lane_index() >= distance) x += below;
  }
  return x;
}

struct Scanned {
  uint32_t before, total;
};

constexpr int kScratchWords = 32;

// The sum over the threads before this one, and over all. `scratch` is free to use before and after.
MAGNET_DEVICE Scanned block_scan(uint32_t x, Shared<uint32_t> scratch) {
  const uint32_t sum = warp_scan(x), warp = threadIdx.x / 32;
  if (lane_index() == 31) scratch[warp] = sum;
  __syncthreads();
  Scanned result{sum - x, 0};
  for (uint32_t i = 0; i < blockDim.x / 32; ++i) {
    const uint32_t part = scratch[i];
    result.before += i < warp ? part : 0;
    result.total += part;
  }
  __syncthreads();
  return result;
}

// Adds one to bins[digit[i]] for every i and lane that counts. The first digit of the warp is counted apart and added
// at once: in flat areas nothing else is there, and lanes would wait for each other.
template <int kN>
MAGNET_DEVICE void count_digits(Shared<uint32_t> bins, const bool (&counts)[kN], const uint32_t (&digit)[kN]) {
  bool any = false;
  uint32_t mine = 0;
#pragma unroll
  for (int i = kN - 1; i >= 0; --i) {
    any = any || counts[i];
    mine = counts[i] ? digit[i] : mine;
  }
  const uint32_t lanes = __ballot_sync(kFullWarp, any);
  if (lanes == 0) return;
  const int first = __ffs(static_cast<int>(lanes)) - 1;
  const uint32_t usual = __shfl_sync(kFullWarp, mine, first);
  uint32_t same = 0;
#pragma unroll
  for (int i = 0; i < kN; ++i) {
    const bool is_usual = digit[i] == usual;
    same += __popc(__ballot_sync(kFullWarp, counts[i] && is_usual));
    if (counts[i] && !is_usual) atomic_add(bins + digit[i], 1u);
  }
  if (lane_index() == first) atomic_add(bins + usual, same);
}

struct Rank {
  uint32_t digit, wanted, count;  // wanted: the rank left among the `count` keys with that digit
};

// Of keys counted by digit: the digit of the one of rank `wanted`, from 1 for the highest; it must exist. kBins: a
// power of two. All threads of a block, a power of two.
template <uint32_t kBins>
MAGNET_DEVICE Rank find_digit(Shared<uint32_t> bins, uint32_t wanted, Shared<uint32_t> scratch) {
  const uint32_t own = kBins > blockDim.x ? kBins / blockDim.x : 1, t = threadIdx.x;  // bins of a thread
  const bool active = t * own < kBins;
  const uint32_t end = kBins - t * own;  // of its bins; the first thread has the highest
  uint32_t sum = 0;
  if (active) {
    for (uint32_t i = 0; i < own; ++i) sum += bins[end - own + (i + t) % own];  // turned: banks do not collide
  }
  const uint32_t before = block_scan(sum, scratch).before;
  if (before < wanted && wanted - before <= sum) {
    uint32_t digit = end - 1, left = wanted - before;
    for (; left > bins[digit]; --digit) left -= bins[digit];
    scratch[0] = digit;
    scratch[1] = left;
    scratch[2] = bins[digit];
  }
  __syncthreads();
  const Rank rank{scratch[0], scratch[1], scratch[2]};
  __syncthreads();
  return rank;
}

// True for the last of `blocks` blocks that come here, which sees what all of them have written.
MAGNET_DEVICE bool is_last_block(Global<uint32_t> counter, uint32_t blocks, Shared<uint32_t> scratch) {
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) scratch[0] = atomic_add(counter, 1u) == blocks - 1;
  __syncthreads();
  const bool last = scratch[0] != 0;
  __syncthreads();
  if (last) __threadfence();
  return last;
}

// --- keys of images that many blocks work on together

// Takes the keys of an image's pixels: the sink of the median kernels (median_blur.cuh), and what make_keys uses. The
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
        if (bins_[i] != 0) atomic_add(counts + i, bins_[i]);
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
