// Order-preserving integer keys of floats, on their bits alone: no comparison that a NaN, a signed zero or a
// flush-to-zero mode could break.
//
// Median keys (signed) order NaN < -inf < ... < -0 < +0 < ... < +inf and can be turned back into the float, NaN payload
// included. Selection keys (unsigned) order invalid (0) < NaN, all equal < -inf < ... < -0 = +0 < ... < +inf.
#pragma once

#include <cstdint>

#include "common/portable.h"

namespace magnet {

// The formats: Bits holds the float, Key is the signed integer of its width, infinity its magnitude's bits.
struct Float16Format {
  using Bits = uint16_t;
  using Key = int16_t;
  static constexpr Bits infinity = 0x7c00;
};
struct BFloat16Format {
  using Bits = uint16_t;
  using Key = int16_t;
  static constexpr Bits infinity = 0x7f80;
};
struct Float32Format {
  using Bits = uint32_t;
  using Key = int32_t;
  static constexpr Bits infinity = 0x7f800000u;
};
struct Float64Format {
  using Bits = uint64_t;
  using Key = int64_t;
  static constexpr Bits infinity = 0x7ff0000000000000u;
};

template <class Format>
struct OrderKey {
  using Bits = typename Format::Bits;
  using Key = typename Format::Key;
  static constexpr int kTop = 8 * sizeof(Bits) - 1;
  static constexpr Bits kSign = static_cast<Bits>(Bits{1} << kTop);
  static constexpr Bits kMagnitude = static_cast<Bits>(kSign - 1);
  // Added to a key it moves the positive NaNs, which lie above +inf, past the end of the integers to below -inf.
  static constexpr Bits kWrap = static_cast<Bits>(kMagnitude - Format::infinity);

  // All of the sign bit, as a mask.
  MAGNET_HOST_DEVICE static constexpr Bits sign_mask(Bits bits) {
    return static_cast<Bits>(static_cast<Key>(bits) >> kTop);
  }

  MAGNET_HOST_DEVICE static constexpr Key median_key(Bits bits) {
    return static_cast<Key>(static_cast<Bits>((bits ^ (sign_mask(bits) & kMagnitude)) + kWrap));
  }
  MAGNET_HOST_DEVICE static constexpr Bits from_median_key(Key key) {
    const Bits bits = static_cast<Bits>(static_cast<Bits>(key) - kWrap);
    return static_cast<Bits>(bits ^ (sign_mask(bits) & kMagnitude));
  }
  static constexpr Key kMedianZero = static_cast<Key>(kWrap);  // of +0, the padding

  static constexpr Bits kInvalid = 0;
  static constexpr Bits kSelectNan = static_cast<Bits>(kSign - Format::infinity + kWrap - 1);
  MAGNET_HOST_DEVICE static constexpr Bits selection_key(Bits bits) {
    const Bits sign = sign_mask(bits);
    const Bits key = static_cast<Bits>((bits ^ (sign & kMagnitude)) - sign + kWrap + kSign);
    return key > kSelectNan ? key : kSelectNan;
  }
  // The selection key of the float with this median key. (A positive NaN may pass for a negative float here: it ends as
  // kSelectNan either way.)
  MAGNET_HOST_DEVICE static constexpr Bits selection_of_median(Key key) {
    const Bits moved = static_cast<Bits>(static_cast<Bits>(key) + kSign + (key < kMedianZero ? 1 : 0));
    return moved > kSelectNan ? moved : kSelectNan;
  }
};

}  // namespace magnet
