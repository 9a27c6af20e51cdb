// median_blur: the median of a square window, zero padded.
#include "cuda/median_blur.h"
#include "cuda/parts/median_launch.cuh"
#include "cuda/parts/median_rank.cuh"

namespace magnet::cuda {
namespace {

// The sink that turns keys back into values of fp32, fp16 or bf16.
struct MedianWriter {
  static constexpr int kSharedBytes = 0;
  static constexpr bool kFollows = false;
  Element type;
  bool wide;
  Global<uint32_t> words;
  Global<uint16_t> halves;
  int64_t c, sn, sc, sh, sw;

  class Block {
   public:
    MAGNET_DEVICE Block(const MedianWriter& out, int64_t plane, int64_t /*blocks_of_plane*/) : out_(out) {
      const int64_t image = out.c == 1 ? plane : static_cast<uint32_t>(plane) / static_cast<uint32_t>(out.c);
      base_ = image * out.sn + (plane - image * out.c) * out.sc;
    }
    MAGNET_DEVICE void put(int64_t y, int64_t x, const int32_t (&key)[4], int count) {
      const int64_t offset = base_ + y * out_.sh + x * out_.sw;
      if (out_.type == Element::f32) {
        write<Float32Format>(out_.words, offset, key, count);
      } else if (out_.type == Element::f16) {
        write<Float16Format>(out_.halves, offset, key, count);
      } else {
        write<BFloat16Format>(out_.halves, offset, key, count);
      }
    }
    MAGNET_DEVICE void end() {}

   private:
    template <class Format, class Bits>
    MAGNET_DEVICE void write(Global<Bits> data, int64_t offset, const int32_t (&key)[4], int count) {
      using Keys = OrderKey<Format>;
      Pack<Bits, 4> four;
#pragma unroll
      for (int i = 0; i < 4; ++i) four.value[i] = Keys::from_median_key(static_cast<typename Keys::Key>(key[i]));
      if (out_.wide) {  // rows of whole fours
        if (count > 0) store<4>(data + offset, four);
        return;
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) data[offset + i * out_.sw] = four.value[i];
      }
    }

    const MedianWriter& out_;
    int64_t base_;
  };
};

MedianWriter writer(const Map& out) {
  const bool word = out.type == Element::f32;
  const int64_t elements = extent(out);
  return {out.type,
          rows_of_fours(out),
          global<uint32_t>(word ? out.data : nullptr, word ? elements : 0),
          global<uint16_t>(word ? nullptr : out.data, word ? 0 : elements),
          out.c,
          out.sn,
          out.sc,
          out.sh,
          out.sw};
}

// The same for fp64.
struct DoubleWriter {
  View<uint64_t> out;

  class Block {
   public:
    MAGNET_DEVICE Block(const DoubleWriter& writer, int64_t plane, int64_t /*blocks_of_plane*/)
        : out_(writer.out), base_(plane / out_.c * out_.sn + plane % out_.c * out_.sc) {}
    MAGNET_DEVICE void put(int64_t y, int64_t x, const int64_t (&key)[4], int count) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) {
          out_.data[base_ + y * out_.sh + (x + i) * out_.sw] = OrderKey<Float64Format>::from_median_key(key[i]);
        }
      }
    }
    MAGNET_DEVICE void end() {}

   private:
    const View<uint64_t>& out_;
    int64_t base_;
  };
};

}  // namespace

void median_blur(const Map& x, const Map& out, int kernel_size, const Stream& stream) {
  if (x.n * x.c * x.h * x.w == 0) return;
  if (x.type != Element::f64) {
    if (kernel_size == 1) return launch_keys(x, writer(out), stream);
    return launch_median(x, kernel_size, 0, writer(out), stream);
  }
  const MedianGrid grid(x, kRankTileWidth, kRankTileHeight, 0);
  launch("median", median_by_rank<DoubleWriter>, grid.blocks, kRankThreads, stream, view_of<const uint64_t>(x),
         kernel_size, static_cast<uint32_t>(grid.blocks_of_plane), static_cast<uint32_t>(grid.tiles),
         static_cast<uint32_t>(grid.tiles_of_row), DoubleWriter{view_of<uint64_t>(out)});
}

}  // namespace magnet::cuda
