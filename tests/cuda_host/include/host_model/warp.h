// The operations of warps and blocks, under CUDA's names. Every lane of a mask must come to the same one.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <type_traits>

#include "host_model/engine.h"
#include "host_model/memory.h"

namespace magnet::host_model {

// What the lanes of `mask` did before is ordered before what they do next.
inline void order_lanes(Warp& warp, Thread* lanes, uint32_t mask) {
  std::array<uint32_t, kWarp> row{};
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    ++lanes[lane].clock;
    warp.users[warp.row_of[lane]] &= ~(1u << lane);
  }
  if (mask != ~0u) {  // others' past that one of them knew
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      const auto& known = warp.rows[warp.row_of[std::countr_zero(rest)]];
      for (int lane = 0; lane < kWarp; ++lane) row[lane] = std::max(row[lane], known[lane]);
    }
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    row[lane] = lanes[lane].clock;
  }
  int free = 0;
  while (warp.users[free]) ++free;
  warp.rows[free] = row;
  warp.users[free] = mask;
  for (uint32_t rest = mask; rest; rest &= rest - 1) warp.row_of[std::countr_zero(rest)] = static_cast<uint8_t>(free);
}

template <class Join>
void reduce(Thread* lanes, uint32_t mask, Join join) {
  uint32_t total = 0;
  bool first = true;
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const uint32_t value = static_cast<uint32_t>(lanes[std::countr_zero(rest)].value);
    total = first ? value : join(total, value);
    first = false;
  }
  for (uint32_t rest = mask; rest; rest &= rest - 1) lanes[std::countr_zero(rest)].result = total;
}

// All lanes are there: gives each its result.
inline void complete(WarpOperation operation, Warp& warp, Thread* lanes, uint32_t mask) {
  const auto for_lanes = [&](auto&& function) {
    for (uint32_t rest = mask; rest; rest &= rest - 1) function(lanes[std::countr_zero(rest)], std::countr_zero(rest));
  };
  uint32_t ballot = 0;
  for_lanes([&](Thread& thread, int lane) { ballot |= uint32_t(thread.value != 0) << lane; });
  switch (operation) {
    case WarpOperation::sync:
      return order_lanes(warp, lanes, mask);
    case WarpOperation::shuffle:
      return for_lanes([&](Thread& thread, int) { thread.result = lanes[thread.source].value; });
    case WarpOperation::ballot:
      return for_lanes([&](Thread& thread, int) { thread.result = ballot; });
    case WarpOperation::any:
      return for_lanes([&](Thread& thread, int) { thread.result = ballot != 0; });
    case WarpOperation::all:
      return for_lanes([&](Thread& thread, int) { thread.result = ballot == mask; });
    case WarpOperation::match_any:
      return for_lanes([&](Thread& thread, int) {
        uint32_t same = 0;
        for_lanes([&](Thread& other, int lane) { same |= uint32_t(other.value == thread.value) << lane; });
        thread.result = same;
      });
    case WarpOperation::add:
      return reduce(lanes, mask, [](uint32_t a, uint32_t b) { return a + b; });
    case WarpOperation::min_unsigned:
      return reduce(lanes, mask, [](uint32_t a, uint32_t b) { return a < b ? a : b; });
    case WarpOperation::max_unsigned:
      return reduce(lanes, mask, [](uint32_t a, uint32_t b) { return a > b ? a : b; });
    case WarpOperation::min_signed:
      return reduce(lanes, mask, [](uint32_t a, uint32_t b) { return int32_t(a) < int32_t(b) ? a : b; });
    case WarpOperation::max_signed:
      return reduce(lanes, mask, [](uint32_t a, uint32_t b) { return int32_t(a) > int32_t(b) ? a : b; });
    case WarpOperation::bit_and:
      return reduce(lanes, mask, [](uint32_t a, uint32_t b) { return a & b; });
    case WarpOperation::bit_or:
      return reduce(lanes, mask, [](uint32_t a, uint32_t b) { return a | b; });
    case WarpOperation::bit_xor:
      return reduce(lanes, mask, [](uint32_t a, uint32_t b) { return a ^ b; });
  }
}

// The lanes of `mask` meet. `source`: the lane whose value a shuffle gives.
inline uint64_t meet(WarpOperation operation, uint32_t mask, uint64_t value, int source, const Location& at) {
  Thread& thread = *current.thread;
  Warp& warp = warp_of(thread);
  Thread* lanes = &thread.block->threads[thread.index / kWarp * kWarp];
  const uint32_t bit = 1u << thread.lane();
  const auto name = [&] { return std::string(name_of(operation)) + " of lanes " + hexadecimal(mask); };
  if (!(mask & bit)) fail(name() + ": the mask lacks the lane itself", at);
  if (mask & warp.done) {
    fail(name() + ": " + describe(lanes[std::countr_zero(mask & warp.done)]) + " has ended and will not arrive", at);
  }
  if (mask & warp.blocked) {
    const Thread& other = lanes[std::countr_zero(mask & warp.blocked)];
    fail(name() + ": " + describe(other) + " waits at the barrier at " + describe(other.at) + " and will not arrive",
         at);
  }
  thread.at = at;
  thread.operation = operation;
  thread.mask = mask;
  thread.value = value;
  thread.source = source;
  // Who waits with the same mask. A lane that waits with another one may come here later.
  uint32_t there = mask & warp.waiting;
  if (there && warp.groups > 1) {
    for (uint32_t rest = there; rest; rest &= rest - 1) {
      if (lanes[std::countr_zero(rest)].mask != mask) there &= ~(rest & (0 - rest));
    }
  } else if (there && lanes[std::countr_zero(there)].mask != mask) {
    there = 0;
  }
  if (there) {
    const Thread& other = lanes[std::countr_zero(there)];
    if (other.operation != operation || !same_place(other.at, at)) {
      fail(name() + ": " + describe(other) + " is in another operation: " + name_of(other.operation) + " of lanes " +
               hexadecimal(other.mask) + " at " + describe(other.at),
           at);
    }
  } else {
    warp.expected |= mask;
    ++warp.groups;
  }
  if ((there | bit) != mask) {
    warp.waiting |= bit;
    suspend();
    return thread.result;
  }
  complete(operation, warp, lanes, mask);
  warp.waiting &= ~mask;
  warp.expected = 0;
  if (--warp.groups) {
    for (uint32_t rest = warp.waiting; rest; rest &= rest - 1) warp.expected |= lanes[std::countr_zero(rest)].mask;
  }
  for (uint32_t rest = mask & ~bit; rest; rest &= rest - 1) {
    thread.block->ready.push_back(lanes[std::countr_zero(rest)].index);
  }
  if (operation == WarpOperation::sync) update_stamp();
  return thread.result;
}

inline int width_of(int width, const Location& at) {
  if (width < 1 || width > kWarp || (width & (width - 1))) {
    fail("shuffle of width " + std::to_string(width) + "; expected a power of two up to 32", at);
  }
  return width;
}

template <class T>
T shuffle(uint32_t mask, T value, int source, const Location& at) {
  static_assert(sizeof(T) <= 8);
  if (!(mask >> source & 1)) {
    fail("__shfl_sync of lanes " + hexadecimal(mask) + ": reads lane " + std::to_string(source) +
             ", which is not in the mask",
         at);
  }
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = meet(WarpOperation::shuffle, mask, bits, source, at);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <class T>
uint64_t bits_of(T value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  return bits;
}

}  // namespace magnet::host_model

#define MAGNET_HOST_MODEL_AT const std::source_location& at = std::source_location::current()

inline void __syncthreads(MAGNET_HOST_MODEL_AT) {
  magnet::host_model::barrier(magnet::host_model::BlockOperation::sync, false, at);
}
inline int __syncthreads_or(int predicate, MAGNET_HOST_MODEL_AT) {
  return magnet::host_model::barrier(magnet::host_model::BlockOperation::any, predicate, at);
}
inline int __syncthreads_and(int predicate, MAGNET_HOST_MODEL_AT) {
  return magnet::host_model::barrier(magnet::host_model::BlockOperation::all, predicate, at);
}
inline int __syncthreads_count(int predicate, MAGNET_HOST_MODEL_AT) {
  return magnet::host_model::barrier(magnet::host_model::BlockOperation::count, predicate, at);
}

inline void __syncwarp(unsigned mask = 0xffffffffu, MAGNET_HOST_MODEL_AT) {
  magnet::host_model::meet(magnet::host_model::WarpOperation::sync, mask, 0, 0, at);
}

// One type of the shuffles, with the results that PTX describes: a lane that would read outside of its segment (`width`
// lanes) reads itself.
#define MAGNET_HOST_MODEL_SHUFFLES(T)                                                                       \
  inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, MAGNET_HOST_MODEL_AT) {          \
    using namespace magnet::host_model;                                                                     \
    const int segment = current.thread->lane() & ~(width_of(width, at) - 1);                                \
    return shuffle(mask, value, segment | (source & (width - 1)), at);                                      \
  }                                                                                                         \
  inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, MAGNET_HOST_MODEL_AT) {   \
    using namespace magnet::host_model;                                                                     \
    const int lane = current.thread->lane(), segment = lane & ~(width_of(width, at) - 1);                   \
    const int source = lane - static_cast<int>(delta & 31);                                                 \
    return shuffle(mask, value, source < segment ? lane : source, at);                                      \
  }                                                                                                         \
  inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, MAGNET_HOST_MODEL_AT) { \
    using namespace magnet::host_model;                                                                     \
    const int lane = current.thread->lane(), last = lane | (width_of(width, at) - 1);                       \
    const int source = lane + static_cast<int>(delta & 31);                                                 \
    return shuffle(mask, value, source > last ? lane : source, at);                                         \
  }                                                                                                         \
  inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, MAGNET_HOST_MODEL_AT) {        \
    using namespace magnet::host_model;                                                                     \
    const int lane = current.thread->lane(), last = lane | (width_of(width, at) - 1);                       \
    const int source = lane ^ (with & 31);                                                                  \
    return shuffle(mask, value, source > last ? lane : source, at);                                         \
  }                                                                                                         \
  inline unsigned __match_any_sync(unsigned mask, T value, MAGNET_HOST_MODEL_AT) {                          \
    using namespace magnet::host_model;                                                                     \
    return static_cast<unsigned>(meet(WarpOperation::match_any, mask, bits_of(value), 0, at));              \
  }
MAGNET_HOST_MODEL_SHUFFLES(int)
MAGNET_HOST_MODEL_SHUFFLES(unsigned)
MAGNET_HOST_MODEL_SHUFFLES(long)
MAGNET_HOST_MODEL_SHUFFLES(unsigned long)
MAGNET_HOST_MODEL_SHUFFLES(long long)
MAGNET_HOST_MODEL_SHUFFLES(unsigned long long)
MAGNET_HOST_MODEL_SHUFFLES(float)
MAGNET_HOST_MODEL_SHUFFLES(double)
#undef MAGNET_HOST_MODEL_SHUFFLES

#define MAGNET_HOST_MODEL_WARP(T, name, Value, operation)                                              \
  inline T name(unsigned mask, Value value, MAGNET_HOST_MODEL_AT) {                                    \
    return static_cast<T>(magnet::host_model::meet(magnet::host_model::WarpOperation::operation, mask, \
                                                   magnet::host_model::bits_of(value), 0, at));        \
  }
MAGNET_HOST_MODEL_WARP(unsigned, __ballot_sync, int, ballot)
MAGNET_HOST_MODEL_WARP(int, __any_sync, int, any)
MAGNET_HOST_MODEL_WARP(int, __all_sync, int, all)
MAGNET_HOST_MODEL_WARP(unsigned, __reduce_add_sync, unsigned, add)
MAGNET_HOST_MODEL_WARP(unsigned, __reduce_min_sync, unsigned, min_unsigned)
MAGNET_HOST_MODEL_WARP(unsigned, __reduce_max_sync, unsigned, max_unsigned)
MAGNET_HOST_MODEL_WARP(int, __reduce_add_sync, int, add)
MAGNET_HOST_MODEL_WARP(int, __reduce_min_sync, int, min_signed)
MAGNET_HOST_MODEL_WARP(int, __reduce_max_sync, int, max_signed)
MAGNET_HOST_MODEL_WARP(unsigned, __reduce_and_sync, unsigned, bit_and)
MAGNET_HOST_MODEL_WARP(unsigned, __reduce_or_sync, unsigned, bit_or)
MAGNET_HOST_MODEL_WARP(unsigned, __reduce_xor_sync, unsigned, bit_xor)
#undef MAGNET_HOST_MODEL_WARP
#undef MAGNET_HOST_MODEL_AT

// Memory is in order here.
inline void __threadfence() {}
inline void __threadfence_block() {}
