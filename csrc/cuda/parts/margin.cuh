// Top-two margins of pixels: the running state in registers, the sources it is fed from, and the loop over classes.
//
// A *source* gives the classes of kPixels pixels of one thread, one after the other, in the type they are rounded to:
//   using Element = T;  static constexpr int kPixels;  MAGNET_DEVICE Pack<T, kPixels> next();
// and a *copy* takes them again in that order:
//   MAGNET_DEVICE bool wanted() const;  template <class Pack> MAGNET_DEVICE void put(const Pack&);
// margins() asks for several classes before it uses the first of them.
#pragma once

#include "cuda/parts/device.cuh"
#include "cuda/parts/map.cuh"
#include "cuda/parts/pixels.h"

namespace magnet::cuda {

// --- margins of finished states

// Softmax sums are of 2^(x * log2(e) - softmax_shift(highest x)).
constexpr float kLog2E = 1.44269504f, kHugeLogit = 1e38f;
MAGNET_DEVICE float softmax_shift(float first) { return fmaxf(first, -kHugeLogit) * kLog2E; }  // a number for -inf
MAGNET_DEVICE float softmax_power(float x, float shift) { return exp2_fast(fmaf(x, kLog2E, -shift)); }

// `first` is NaN where any class was. 0 where the margin is not a number; never -0, since the maxima and minima that
// the two come from take -0 to be less than 0.
MAGNET_DEVICE float margin_of(float first, float second) {
  const float margin = first - second;
  return margin != margin ? 0.0f : margin;
}
// An infinite logit has no softmax. Beyond kHugeLogit the shift overflows, but there logits differ by nothing or by so
// much that one takes it all.
MAGNET_DEVICE float softmax_margin_of(float first, float second, float sum) {
  const float shift = softmax_shift(first);
  float margin = (softmax_power(first, shift) - softmax_power(second, shift)) * reciprocal_fast(sum);
  if (fabsf(first) > kHugeLogit) margin = second < first && first < __builtin_inff() ? 1.0f : 0.0f;
  return margin != margin ? 0.0f : margin;
}

// (1 - confidence of coarse) * confidence of fine; 0, never -0, where that is 0 and where it is not a number.
MAGNET_DEVICE float uncertainty(float coarse_confidence, float fine_confidence) {
  const float score = (1.0f - coarse_confidence) * fine_confidence + 0.0f;  // -0 + 0 is 0
  return score != score ? 0.0f : score;
}

// --- running state of kN pixels of one thread

// How many pixels a thread takes where they lie side by side: 16 bytes, or 8 where the state of more would not fit.
template <class T, bool kLogits>
constexpr int kPixelsAThread = sizeof(T) == 2 && !kLogits ? 8 : 4;

// The top two. A NaN sticks to the first.
template <class T, int kN>
struct RunningTopTwo {
  float top[2][kN];

  MAGNET_DEVICE RunningTopTwo() {
#pragma unroll
    for (int i = 0; i < kN; ++i) top[0][i] = top[1][i] = -__builtin_inff();
  }
  MAGNET_DEVICE void take(const Pack<T, kN>& x) {
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      const float value = to_float(x.value[i]);
      top[1][i] = fmaxf(top[1][i], fminf(top[0][i], value));
      top[0][i] = max_nan(top[0][i], value);
    }
  }
  MAGNET_DEVICE float first(int i) const { return top[0][i]; }
  MAGNET_DEVICE float second(int i) const { return top[1][i]; }
};

// Of 16-bit elements, two pixels a register: half the registers, less than half the instructions.
template <class T, int kN>
  requires(sizeof(T) == 2 && kN % 2 == 0)
struct RunningTopTwo<T, kN> {
  uint32_t top[2][kN / 2];

  MAGNET_DEVICE RunningTopTwo() {
    constexpr uint32_t kMinusInfinity = std::is_same_v<T, Half> ? 0xfc00fc00u : 0xff80ff80u;
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) top[0][i] = top[1][i] = kMinusInfinity;
  }
  MAGNET_DEVICE void take(const Pack<T, kN>& x) {
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) {
      const uint32_t pair = x.value[2 * i].bits | static_cast<uint32_t>(x.value[2 * i + 1].bits) << 16;
      top[1][i] = max_pair<T>(top[1][i], min_pair<T>(top[0][i], pair));
      top[0][i] = max_nan_pair<T>(top[0][i], pair);
    }
  }
  MAGNET_DEVICE static float half(uint32_t pair, int i) {
    return to_float(T{static_cast<uint16_t>(i % 2 == 0 ? pair : pair >> 16)});
  }
  MAGNET_DEVICE float first(int i) const { return half(top[0][i / 2], i); }
  MAGNET_DEVICE float second(int i) const { return half(top[1][i / 2], i); }
};

template <class T, int kN, bool kLogits>
struct RunningMargins {
  RunningTopTwo<T, kN> top;

  template <int kPlanes>
  MAGNET_DEVICE void take(const Pack<T, kN> (&x)[kPlanes]) {
#pragma unroll
    for (int k = 0; k < kPlanes; ++k) top.take(x[k]);
  }
  MAGNET_DEVICE float finish(int i) const { return margin_of(top.first(i), top.second(i)); }
};

// The softmax sums are brought up to date once for all planes of a take.
template <class T, int kN>
struct RunningMargins<T, kN, true> {
  RunningTopTwo<T, kN> top;
  float sum[kN] = {};

  template <int kPlanes>
  MAGNET_DEVICE void take(const Pack<T, kN> (&x)[kPlanes]) {
    const RunningTopTwo<T, kN> before = top;
#pragma unroll
    for (int k = 0; k < kPlanes; ++k) top.take(x[k]);
#pragma unroll
    for (int i = 0; i < kN; ++i) {
      const float shift = softmax_shift(top.first(i));
      float total = sum[i] * exp2_fast(softmax_shift(before.first(i)) - shift);
#pragma unroll
      for (int k = 0; k < kPlanes; ++k) total += softmax_power(to_float(x[k].value[i]), shift);
      sum[i] = total;
    }
  }
  MAGNET_DEVICE float finish(int i) const { return softmax_margin_of(top.first(i), top.second(i), sum[i]); }
};

// The states of one pixel in neighbouring lanes, `lanes` (a power of two) at a time, as one; all lanes of the warp must
// arrive.
template <bool kLogits>
MAGNET_DEVICE void merge_lanes(RunningMargins<float, 1, kLogits>& state, int lanes) {
  for (int distance = lanes / 2; distance > 0; distance /= 2) {
    float &first = state.top.top[0][0], &second = state.top.top[1][0];
    const float before = first;
    const float other_first = __shfl_xor_sync(0xffffffffu, first, distance);
    const float other_second = __shfl_xor_sync(0xffffffffu, second, distance);
    second = fmaxf(fminf(first, other_first), fmaxf(second, other_second));
    first = max_nan(first, other_first);
    if constexpr (kLogits) {
      const float other_sum = __shfl_xor_sync(0xffffffffu, state.sum[0], distance), shift = softmax_shift(first);
      state.sum[0] = state.sum[0] * exp2_fast(softmax_shift(before) - shift) +
                     other_sum * exp2_fast(softmax_shift(other_first) - shift);
    }
  }
}

// --- which pixels a thread takes

// The unit of this thread in a grid of units of kN pixels.
template <int kN>
struct PixelPlace {
  bool exists, single;  // single: of one pixel, at the end of a row
  int64_t image, y, x;

  MAGNET_DEVICE PixelPlace(const PixelGrid& grid, int threads) {
    const uint32_t blocks = static_cast<uint32_t>(grid.blocks);
    image = blockIdx.x / blocks;
    int64_t unit = static_cast<int64_t>(blockIdx.x % blocks) * threads + threadIdx.x;
    exists = unit < grid.rows * grid.per_row;
    y = 0;
    if (grid.rows > 1) {
      y = unit / grid.per_row;
      unit -= y * grid.per_row;
    }
    single = unit >= grid.full;
    x = single ? unit - grid.full + grid.full * kN : unit * kN;
  }
};

// --- sources and copies

// kN consecutive pixels of planes; one pixel of a map of any strides.
template <class T, int kN>
struct Planes {
  using Element = T;
  static constexpr int kPixels = kN;
  Global<const T> pixel;
  int64_t stride;

  MAGNET_DEVICE Planes(const View<const T>& map, int64_t image, int64_t y, int64_t x)
      : pixel(opaque(map.data + map.offset(image, y, x))), stride(map.sc) {}
  MAGNET_DEVICE Pack<T, kN> next() {
    const Global<const T> at = pixel;
    pixel = opaque(pixel + stride);
    if constexpr (kN == 1) return magnet::load<1>(at);  // its neighbours may be of use soon
    return load_once<kN>(at);
  }
};

struct NoCopy {
  MAGNET_DEVICE bool wanted() const { return false; }
  template <class Pack>
  MAGNET_DEVICE void put(const Pack&) {}
};

// To kN consecutive pixels of planes, or one pixel of any map; nowhere where its data is null.
template <class T, int kN>
struct CopyPlanes {
  Global<T> pixel;
  int64_t stride;

  MAGNET_DEVICE CopyPlanes(const View<T>& map, int64_t image, int64_t y, int64_t x) : pixel(map.data), stride(map.sc) {
    if (pixel != nullptr) pixel = opaque(pixel + map.offset(image, y, x));
  }
  MAGNET_DEVICE bool wanted() const { return pixel != nullptr; }
  MAGNET_DEVICE void put(const Pack<T, kN>& x) {
    if constexpr (kN == 1) {
      magnet::store<1>(pixel, x);
    } else {
      store_once<kN>(pixel, x);
    }
    pixel = opaque(pixel + stride);
  }
};

// --- the loop over classes

template <class T>
MAGNET_DEVICE T minus_infinity() {
  return from_float<T>(-__builtin_inff());
}

// As many loads of kBytes as fit into 64 registers beside the state of the pixels, on every architecture.
template <bool kLogits, int kClasses, int kBytes>
constexpr int kPlanesInFlight = kBytes < 8                                   ? 12
                                : kClasses == 0 || (kLogits && kBytes == 16) ? 6
                                                                             : 8;

// For the single pixels at the ends of rows, in every kernel for several: little code.
constexpr int kPlanesOfTheRest = 3;

// How a known number of classes is split into groups of at most kMost planes, the first one maybe smaller.
template <int kClasses, int kMost>
struct Groups {
  static constexpr int kCount = (kClasses + kMost - 1) / kMost;
  static constexpr int kSize = (kClasses + kCount - 1) / kCount;
  static constexpr int kHead = kClasses - (kCount - 1) * kSize;
};
template <int kMost>
struct Groups<0, kMost> {
  static constexpr int kSize = kMost, kHead = kMost;
};

// Margins of the pixels of `source`, 0 where they are not a number. kClasses: 0 where only known as `classes`.
// kMost: how many planes are loaded before the first is used, 16 bytes each in registers where pixels are many.
template <bool kLogits, int kClasses, int kMost, class Source, class Copy>
MAGNET_DEVICE void margins(Source& source, int classes, Copy& copy, float (&result)[Source::kPixels]) {
  using T = typename Source::Element;
  using Split = Groups<kClasses, kMost>;
  constexpr int kN = Source::kPixels;
  RunningMargins<T, kN, kLogits> state;
  const int end = kClasses ? kClasses : classes;
  const int head = kClasses ? Split::kHead : static_cast<int>((static_cast<uint32_t>(classes) - 1) % Split::kSize) + 1;
  {
    Pack<T, kN> x[Split::kHead];
#pragma unroll
    for (int k = 0; k < Split::kHead; ++k) {
      if (kClasses || k < head) {
        x[k] = source.next();
      } else {
#pragma unroll
        for (int i = 0; i < kN; ++i) x[k].value[i] = minus_infinity<T>();
      }
    }
    if (copy.wanted()) {
#pragma unroll
      for (int k = 0; k < Split::kHead; ++k) {
        if (kClasses || k < head) copy.put(x[k]);
      }
    }
    state.take(x);
  }
#pragma unroll 1
  for (int plane = head; plane < end; plane += Split::kSize) {
    Pack<T, kN> x[Split::kSize];
#pragma unroll
    for (int k = 0; k < Split::kSize; ++k) x[k] = source.next();
    if (copy.wanted()) {
#pragma unroll
      for (int k = 0; k < Split::kSize; ++k) copy.put(x[k]);
    }
    state.take(x);
  }
#pragma unroll
  for (int i = 0; i < kN; ++i) result[i] = state.finish(i);
}

// --- pixels of consecutive classes: read in the order of memory into a tile in shared memory

// Each image as rows of tiles, one a block of kThreads threads, `lanes` (a power of two) of a warp for each pixel.
struct PixelTiles {
  static constexpr int kThreads = 128, kBytes = 12 * 1024;
  int pixels = 0, lanes = 0;  // of a tile, of a pixel: pixels * lanes = kThreads; none: too many classes
  int64_t rows = 0, length = 0, per_row = 0, blocks = 0;

  explicit PixelTiles(const Map& map) {
    const int64_t bytes = map.c * map.item();
    if (8 * bytes > kBytes) return;
    for (pixels = kThreads; pixels * bytes > kBytes;) pixels /= 2;
    lanes = kThreads / pixels;
    rows = map.h;
    length = map.w;
    per_row = (length + pixels - 1) / pixels;
    blocks = map.n * rows * per_row;
  }
};

// Where the tile of this block lies.
struct TilePlace {
  int64_t image, y, x;
  int count;  // pixels

  MAGNET_DEVICE explicit TilePlace(const PixelTiles& tiles) {
    const int64_t row = blockIdx.x / static_cast<uint32_t>(tiles.per_row);
    image = static_cast<uint32_t>(row) / static_cast<uint32_t>(tiles.rows);
    y = row - image * tiles.rows;
    x = (blockIdx.x - row * tiles.per_row) * tiles.pixels;
    const int64_t rest = tiles.length - x;
    count = static_cast<int>(rest < tiles.pixels ? rest : tiles.pixels);
  }
};

// What a thread loads of a tile: all of it is asked for before any of it is needed, and may be long before.
template <class T>
struct TileLoads {
  static constexpr int kN = 16 / sizeof(T), kThreads = PixelTiles::kThreads;
  static constexpr int kLoads = PixelTiles::kBytes / (16 * kThreads);
  Global<const T> from;
  int count;
  Pack<T, kN> x[kLoads];

  // `count` elements, no more than a tile holds; `from` is aligned to 16 bytes.
  MAGNET_DEVICE TileLoads(Global<const T> from, int count) : from(from), count(count) {
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      if (end(k) <= count) x[k] = load_once<kN>(from + begin(k));
    }
  }
  // Into shared memory and, where that is not null, to `copy`, aligned too.
  MAGNET_DEVICE void put(Shared<T> tile, Global<T> copy) const {
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      if (end(k) > count) continue;
      store<kN>(tile + begin(k), x[k]);
      if (copy != nullptr) store_once<kN>(copy + begin(k), x[k]);
    }
    const int i = count / kN * kN + static_cast<int>(threadIdx.x);  // what is left is less than 16 bytes
    if (i >= count) return;
    const T last = from[i];
    tile[i] = last;
    if (copy != nullptr) copy[i] = last;
  }

 private:
  MAGNET_DEVICE static int begin(int k) { return (k * kThreads + static_cast<int>(threadIdx.x)) * kN; }
  MAGNET_DEVICE static int end(int k) { return begin(k) + kN; }
};

// The margin of pixel threadIdx.x / lanes of a tile of `count` pixels, in all its lanes.
template <bool kLogits, class T>
MAGNET_DEVICE float tile_margin(Shared<const T> tile, int classes, int lanes, int count) {
  constexpr int kPlanes = 4;
  const int pixel = threadIdx.x / lanes, lane = threadIdx.x % lanes;
  RunningMargins<float, 1, kLogits> state;
  if (pixel < count) {
    const Shared<const T> first = tile + pixel * classes + lane;
    const int steps = (classes + lanes - 1) / lanes;
    int begin = 0;
    if (classes % 2 == 1) {
      for (; (begin + kPlanes) * lanes <= classes; begin += kPlanes) {
        Pack<float, 1> x[kPlanes];
#pragma unroll
        for (int k = 0; k < kPlanes; ++k) x[k].value[0] = to_float<T>(first[(begin + k) * lanes]);
        state.take(x);
      }
    }
    // Pixels an even number of elements apart meet in the same banks unless each starts at another class.
    int step = classes % 2 == 0 ? pixel % steps : begin;
    for (; begin < steps; begin += kPlanes) {
      Pack<float, 1> x[kPlanes];
#pragma unroll
      for (int k = 0; k < kPlanes; ++k) {
        const bool exists = begin + k < steps && step * lanes + lane < classes;
        x[k].value[0] = exists ? to_float<T>(first[step * lanes]) : -__builtin_inff();
        step = step + 1 == steps ? 0 : step + 1;
      }
      state.take(x);
    }
  }
  merge_lanes<kLogits>(state, lanes);
  return state.finish(0);
}

}  // namespace magnet::cuda
