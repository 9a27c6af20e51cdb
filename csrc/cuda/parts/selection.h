// What a selection of points is asked for, and where its working memory lies. Needs neither CUDA nor torch.
#pragma once

#include <cstdint>
#include <stdexcept>

#include "cuda/parts/launch.h"

namespace magnet::cuda {

constexpr int64_t kListTile = 4096;       // pixels that a block lists
constexpr int64_t kLeadingDigits = 4736;  // values of a key's leading digit, see LeadingDigit, in whole groups
constexpr int64_t kSelectDigits = 4096;   // values of the digit of 12 bits that follows it
constexpr int64_t kFineCounts = 1 << 20;  // values of all that follows the leading digit, 20 bits,
constexpr int64_t kLowCounts = 1 << 8;    // and of its last 8
constexpr int64_t kStateWords = 32;       // of an image: a cache line
constexpr int64_t kGroupDigits = 128;     // digits whose counts are also kept as one sum,
constexpr int64_t kGroups = 64;           // of which a table has room for so many

struct Selection {
  int64_t n = 0, h = 0, w = 0, k = 0;
  ValidMap valid{};
  bool wide = false;          // keys of 64 bits, for fp64 scores
  char* workspace = nullptr;  // Workspace::bytes of it, a multiple of 128 bytes from 0; the first zero_bytes zero
  int64_t* points = nullptr;  // (n, k)

  int64_t pixels() const { return h * w; }
  // Small images, and many: one block finds and lists all points of an image. Beyond, all blocks together are faster,
  // but for so many images that each multiprocessor has half of one anyway.
  bool block_an_image() const { return wide || pixels() <= (1 << 14) || (n >= 64 && pixels() <= (1 << 16)); }
  // Whether what follows the leading digit is counted at once, in 4 MB an image, or digit by digit in 40 KB by one more
  // launch: clearing the former takes about 1 us an image, a launch 2 to 3.
  bool counts_at_once() const { return n <= 3 || pixels() >= (1 << 19); }
  // The distance of two images' keys: all begin at a multiple of 16 bytes. What lies between them is invalid keys.
  int64_t pitch() const { return (pixels() + 3) / 4 * 4; }
  int64_t fine_counts() const { return counts_at_once() ? kFineCounts : kLowCounts; }
  int64_t tiles() const { return (pixels() + kListTile - 1) / kListTile; }
};

// Where things lie in the workspace, in bytes.
struct Workspace {
  int64_t ticket = 0, state = 0, leading = 0, second = 0, fine = 0, words = 0;
  int64_t zero_bytes = 0;
  int64_t keys = 0, bytes = 0;

  explicit Workspace(const Selection& s) {
    if (s.pixels() > INT32_MAX) throw std::invalid_argument("H * W: expected less than 2**31 pixels an image");
    const auto take = [this](int64_t size) {
      const int64_t begin = bytes;
      bytes += (size + 127) / 128 * 128;
      return begin;
    };
    if (!s.block_an_image()) {
      ticket = take(s.n * 4);
      state = take(s.n * kStateWords * 4);
      leading = take(s.n * (kGroups + kLeadingDigits) * 4);
      second = take(s.n * (kGroups + kSelectDigits) * 4);
      words = take(s.n * s.tiles() * 8);
      fine = take(s.n * s.fine_counts() * 4);
    }
    zero_bytes = bytes;
    keys = take(s.n * s.pitch() * (s.wide ? 8 : 4));
  }
};

}  // namespace magnet::cuda
