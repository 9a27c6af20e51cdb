// Kernels with one mistake each, and the same without it: kWrong. The lines that may be blamed end in "// wrong". The
// correct ones leave i + 1 at out[i]. test_ptx_mistakes.py says how each is launched and what must be found.
#include "cuda/parts/device.cuh"

namespace magnet::cuda {

constexpr unsigned kAll = 0xffffffff;

// Compiles a kernel NAME<kWrong>(...) with and without its mistake.
#define MAGNET_CASE(name, ...)                       \
  template __global__ void name<false>(__VA_ARGS__); \
  template __global__ void name<true>(__VA_ARGS__);

MAGNET_DEVICE uint32_t lane_id() { return threadIdx.x % 32; }

// --- barriers

// Something beside the barrier, or the compiler makes one of the two.
template <bool kWrong>
MAGNET_KERNEL(64, 32)
void two_barriers(Global<uint32_t> out) {
  if (kWrong && lane_id() < 16) {
    __syncthreads();  // wrong
    out[threadIdx.x] = threadIdx.x + 1;
    __syncthreads();
  } else {
    __syncthreads();  // wrong
    __syncthreads();
    out[threadIdx.x] = threadIdx.x + 1;
  }
}
MAGNET_CASE(two_barriers, Global<uint32_t>)

// Whole warps at two places: right in PTX, whose barriers have numbers and no places.
template <bool kWrong>
MAGNET_KERNEL(64, 32)
void two_barriers_of_warps(Global<uint32_t> out) {
  if (kWrong && threadIdx.x < 32) {
    __syncthreads();
    out[threadIdx.x] = threadIdx.x + 1;
    __syncthreads();
  } else {
    __syncthreads();
    __syncthreads();
    out[threadIdx.x] = threadIdx.x + 1;
  }
}
MAGNET_CASE(two_barriers_of_warps, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void return_before_barrier(Global<uint32_t> out) {
  if (kWrong && threadIdx.x == 5) return;
  __syncthreads();  // wrong
  out[threadIdx.x] = threadIdx.x + 1;
}
MAGNET_CASE(return_before_barrier, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void barrier_in_a_loop(Global<uint32_t> out) {
  const uint32_t rounds = kWrong && threadIdx.x == 63 ? 2 : 3;
  for (uint32_t i = 0; i < rounds; ++i) __syncthreads();  // wrong
  out[threadIdx.x] = threadIdx.x + 1;
}
MAGNET_CASE(barrier_in_a_loop, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void other_barrier_operation(Global<uint32_t> out) {
  // One line, so that only the kind differs.
  // clang-format off
  const int all = kWrong && threadIdx.x == 7 ? __syncthreads_and(1) : __syncthreads_or(1);  // wrong
  // clang-format on
  out[threadIdx.x] = threadIdx.x + all;
}
MAGNET_CASE(other_barrier_operation, Global<uint32_t>)

// --- warps

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void mask_without_the_lane(Global<uint32_t> out) {
  const unsigned mask = kWrong ? 0x0000ffffu : kAll;
  const unsigned low = __ballot_sync(mask, lane_id() < 16);  // wrong
  out[threadIdx.x] = threadIdx.x + (low == 0xffffu);
}
MAGNET_CASE(mask_without_the_lane, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void lanes_that_ended(Global<uint32_t> out) {
  out[threadIdx.x] = threadIdx.x + 1;
  if (kWrong && lane_id() >= 16) return;
  __syncwarp(kAll);  // wrong
}
MAGNET_CASE(lanes_that_ended, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void lane_at_a_barrier(Global<uint32_t> out) {
  if (!kWrong || lane_id() != 3) __syncwarp();  // wrong
  __syncthreads();                              // wrong
  out[threadIdx.x] = threadIdx.x + 1;
}
MAGNET_CASE(lane_at_a_barrier, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void different_operations(Global<uint32_t> out) {
  bool found = true;
  if (kWrong && lane_id() < 16) {
    found = __any_sync(kAll, 1);  // wrong
  } else {
    found = __ballot_sync(kAll, 1) != 0;  // wrong
  }
  out[threadIdx.x] = threadIdx.x + found;
}
MAGNET_CASE(different_operations, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void different_places(Global<uint32_t> out) {
  uint32_t x = threadIdx.x + 1;
  if (kWrong && lane_id() % 2) {
    x = __shfl_sync(kAll, x, lane_id());  // wrong
  } else {
    x = __shfl_sync(kAll, x, lane_id());  // wrong
  }
  out[threadIdx.x] = x;
}
MAGNET_CASE(different_places, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void different_masks(Global<uint32_t> out) {
  const unsigned half = lane_id() < 16 ? 0x0000ffffu : 0xffff0000u;
  const unsigned mask = kWrong && lane_id() < 16 ? kAll : half;
  const int there = __popc(__ballot_sync(mask, 1));  // wrong
  out[threadIdx.x] = threadIdx.x + there / 16;
}
MAGNET_CASE(different_masks, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shuffle_from_outside(Global<uint32_t> out) {
  uint32_t x = threadIdx.x + 1;
  if (lane_id() < 8) x = __shfl_sync(0xffu, x, kWrong && lane_id() == 2 ? 9 : lane_id());  // wrong
  out[threadIdx.x] = x;
}
MAGNET_CASE(shuffle_from_outside, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shuffle_of_odd_width(Global<uint32_t> out) {
  out[threadIdx.x] = __shfl_sync(kAll, threadIdx.x + 1, lane_id(), kWrong ? 24 : 32);  // wrong
}
MAGNET_CASE(shuffle_of_odd_width, Global<uint32_t>)

// Lane 0 waits for lane 1 there, lane 1 for lane 0 here.
template <bool kWrong>
MAGNET_KERNEL(32, 32)
void lanes_wait_for_each_other(Global<uint32_t> out) {
  const bool odd = kWrong && lane_id() % 2;
  __syncwarp(odd ? 0xaaaaaaabu : kAll);  // wrong
  out[threadIdx.x] = threadIdx.x + 1;
}
MAGNET_CASE(lanes_wait_for_each_other, Global<uint32_t>)

// --- bounds and alignment

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void write_past_the_end(Global<uint32_t> out) {
  const uint32_t i = blockIdx.x * 64 + threadIdx.x;
  if (kWrong || i < 64) out[i] = i + 1;  // wrong
}
MAGNET_CASE(write_past_the_end, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void read_before_the_start(Global<uint32_t> out) {
  const int i = threadIdx.x;
  const uint32_t left = kWrong || i > 0 ? out[i - 1] : 0;  // wrong
  __syncthreads();
  out[i] = i + 1 + left;  // 0 at first
}
MAGNET_CASE(read_before_the_start, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void wide_past_the_end(Global<uint32_t> out) {
  const uint32_t i = threadIdx.x * (kWrong ? 4 : 1);
  if (i % 4 == 0) store<4>(out + i, Pack<uint32_t, 4>{{i + 1, i + 2, i + 3, i + 4}});  // wrong
}
MAGNET_CASE(wide_past_the_end, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void wide_misaligned(Global<uint32_t> out) {
  const uint32_t i = threadIdx.x;
  uint32_t last = 0;
  if (i == 6 && kWrong) {
    const auto x = load<4>(out + i);  // wrong
    last = x.value[0] + x.value[1] + x.value[2] + x.value[3];
  }
  __syncthreads();
  out[i] = i + 1 + last;
}
MAGNET_CASE(wide_misaligned, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void null_pointer(Global<const uint32_t> none, Global<uint32_t> out) {
  const uint32_t more = kWrong || none != nullptr ? none[0] : 0;  // wrong
  out[threadIdx.x] = threadIdx.x + 1 + more;
}
MAGNET_CASE(null_pointer, Global<const uint32_t>, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void atomic_past_the_end(Global<uint32_t> out) {
  atomic_add(&out[threadIdx.x + (kWrong ? 1 : 0)], threadIdx.x + 1);  // wrong
}
MAGNET_CASE(atomic_past_the_end, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_past_the_end(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  MAGNET_SHARED(uint32_t, more, 64);
  more[threadIdx.x] = 0;
  values[threadIdx.x + (kWrong ? 1 : 0)] = threadIdx.x + 1;  // wrong
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x];
}
MAGNET_CASE(shared_past_the_end, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_read_before_the_start(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  values[threadIdx.x] = threadIdx.x + 1;
  __syncthreads();
  const int i = static_cast<int>(threadIdx.x) - (kWrong ? 1 : 0);
  out[threadIdx.x] = values[i];  // wrong
}
MAGNET_CASE(shared_read_before_the_start, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_wide_misaligned(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 4 * 64 + 2);
  const Pack<uint32_t, 4> four{{threadIdx.x + 1}};
  store<4>(values + threadIdx.x * 4 + (kWrong ? 2 : 0), four);  // wrong
  out[threadIdx.x] = values[threadIdx.x * 4 + (kWrong ? 2 : 0)];
}
MAGNET_CASE(shared_wide_misaligned, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_too_large(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, first, 8 << 10);
  MAGNET_SHARED(uint32_t, second, (4 << 10) + (kWrong ? 1 : 0));  // wrong
  first[threadIdx.x] = threadIdx.x;
  second[threadIdx.x] = 1;
  out[threadIdx.x] = first[threadIdx.x] + second[threadIdx.x];
}
MAGNET_CASE(shared_too_large, Global<uint32_t>)

// --- shared memory that was not written

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_not_written(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  if (!kWrong || threadIdx.x != 9) values[threadIdx.x] = threadIdx.x + 1;
  __syncthreads();
  out[threadIdx.x] = values[threadIdx.x];  // wrong
}
MAGNET_CASE(shared_not_written, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shared_of_another_block(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  if (!kWrong || blockIdx.x == 0) values[threadIdx.x] = threadIdx.x + 1;
  __syncthreads();
  const uint32_t x = values[threadIdx.x];  // wrong
  if (blockIdx.x == 4) out[threadIdx.x] = x;
}
MAGNET_CASE(shared_of_another_block, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void counters_not_cleared(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, counter, 1);
  if (!kWrong && threadIdx.x == 0) counter[0] = 0;
  __syncthreads();
  atomic_add(counter, 1);  // wrong
  __syncthreads();
  out[threadIdx.x] = threadIdx.x + counter[0] / 64;
}
MAGNET_CASE(counters_not_cleared, Global<uint32_t>)

// --- races

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void read_before_barrier(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  values[threadIdx.x] = threadIdx.x;  // wrong
  __syncthreads();
  values[threadIdx.x] = 64 - threadIdx.x;  // wrong
  if (!kWrong) __syncthreads();
  out[threadIdx.x] = values[63 - threadIdx.x];  // wrong
}
MAGNET_CASE(read_before_barrier, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void overwritten_while_read(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, value, 1);
  if (threadIdx.x == 0) value[0] = 1;
  __syncthreads();
  out[threadIdx.x] = threadIdx.x + value[0];  // wrong
  if (!kWrong) __syncthreads();
  if (threadIdx.x == 0) value[0] = 2;  // wrong
}
MAGNET_CASE(overwritten_while_read, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void two_writers(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, value, 1);
  if (threadIdx.x == 3 || (kWrong && threadIdx.x == 40)) value[0] = blockDim.x / 64;  // wrong
  __syncthreads();
  out[threadIdx.x] = threadIdx.x + value[0];
}
MAGNET_CASE(two_writers, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void neighbours_of_a_warp(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  values[threadIdx.x] = threadIdx.x;
  __syncthreads();
  values[threadIdx.x] = (threadIdx.x ^ 1) + 1;  // wrong
  if (!kWrong) __syncwarp();
  out[threadIdx.x] = values[threadIdx.x ^ 1];  // wrong
}
MAGNET_CASE(neighbours_of_a_warp, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void shuffle_orders_no_memory(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  values[threadIdx.x] = 0;
  __syncthreads();
  values[threadIdx.x] = (threadIdx.x ^ 1) + 1;  // wrong
  __shfl_sync(kAll, 0, 0);
  __ballot_sync(kAll, 0);
  if (!kWrong) __syncwarp();
  out[threadIdx.x] = values[threadIdx.x ^ 1];  // wrong
}
MAGNET_CASE(shuffle_orders_no_memory, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void half_a_warp_ordered(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, values, 64);
  values[threadIdx.x] = 0;
  __syncthreads();
  values[threadIdx.x] = (threadIdx.x ^ 16) + 1;  // wrong
  __syncwarp(lane_id() < 16 ? 0x0000ffffu : 0xffff0000u);
  if (!kWrong) __syncwarp(lane_id() % 16 < 8 ? 0x00ff00ffu : 0xff00ff00u);
  out[threadIdx.x] = values[threadIdx.x ^ 16];  // wrong
}
MAGNET_CASE(half_a_warp_ordered, Global<uint32_t>)

// Lane 0 tells lane 1, which tells lane 2: ordered along the chain.
template <bool kWrong>
MAGNET_KERNEL(32, 32)
void ordered_through_another_lane(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, value, 1);
  if (lane_id() == 0) value[0] = 0;
  __syncthreads();
  if (lane_id() == 0) value[0] = 3;  // wrong
  if (lane_id() < 2) __syncwarp(0x3u);
  if (!kWrong && lane_id() - 1 < 2) __syncwarp(0x6u);
  out[threadIdx.x] = threadIdx.x + 1;
  if (lane_id() == 2) out[2] = value[0];  // wrong
}
MAGNET_CASE(ordered_through_another_lane, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void atomic_and_plain(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, counter, 1);
  if (threadIdx.x == 0) counter[0] = 0;
  __syncthreads();
  atomic_add(&counter[0], 1);  // wrong
  if (!kWrong) __syncthreads();
  out[threadIdx.x] = threadIdx.x + counter[0] / 64;  // wrong
}
MAGNET_CASE(atomic_and_plain, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void plain_increment(Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, counter, 1);
  if (threadIdx.x == 0) counter[0] = 0;
  __syncthreads();
  if (kWrong) {
    ++counter[0];  // wrong
  } else {
    atomic_add(counter, 1);
  }
  __syncthreads();
  out[threadIdx.x] = threadIdx.x + counter[0] / 64;
}
MAGNET_CASE(plain_increment, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void global_race(Global<uint32_t> out) {
  out[threadIdx.x] = 64 - threadIdx.x;  // wrong
  if (!kWrong) __syncthreads();
  const uint32_t x = out[63 - threadIdx.x];  // wrong
  __syncthreads();
  out[threadIdx.x] = x;
}
MAGNET_CASE(global_race, Global<uint32_t>)

// Lanes whose order is said, in global memory.
template <bool kWrong>
MAGNET_KERNEL(64, 32)
void neighbours_in_global_memory(Global<uint32_t> out) {
  out[threadIdx.x] = (threadIdx.x ^ 1) + 1;  // wrong
  if (!kWrong) __syncwarp();
  const uint32_t x = out[threadIdx.x ^ 1];  // wrong
  __syncwarp();
  out[threadIdx.x] = x;
}
MAGNET_CASE(neighbours_in_global_memory, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void race_of_blocks(Global<uint32_t> out) {
  if (kWrong || blockIdx.x == 0) out[threadIdx.x] = threadIdx.x + 1;  // wrong
}
MAGNET_CASE(race_of_blocks, Global<uint32_t>)

// The second to come finds the flag set by the first, and trusts what the first has written before.
template <bool kWrong>
MAGNET_KERNEL(64, 32)
void no_acquire(Global<uint64_t> flag, Global<uint32_t> ticket, Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, turn, 1);
  if (threadIdx.x == 0) turn[0] = kWrong ? blockIdx.x : atomic_add(ticket, 1);
  __syncthreads();
  if (turn[0] == 0) {
    out[threadIdx.x] = threadIdx.x;  // wrong
    __syncthreads();
    if (!kWrong && threadIdx.x == 0) store_release(flag, 1);
  } else {
    if (!kWrong && threadIdx.x == 0) {
      while (load_acquire(flag) == 0) back_off();
    }
    __syncthreads();
    out[threadIdx.x] += 1;  // wrong
  }
}
MAGNET_CASE(no_acquire, Global<uint64_t>, Global<uint32_t>, Global<uint32_t>)

// --- blocks that wait for each other

// The block before, by index: it need not have started.
template <bool kWrong>
MAGNET_KERNEL(32, 32)
void waits_by_index(Global<uint64_t> flags, Global<uint32_t> ticket, Global<uint32_t> out) {
  MAGNET_SHARED(uint32_t, mine, 1);
  if (threadIdx.x == 0) mine[0] = kWrong ? blockIdx.x : atomic_add(ticket, 1);
  __syncthreads();
  const uint32_t turn = mine[0];
  if (turn > 0) {
    while (load_acquire(flags + turn - 1) == 0) back_off();  // wrong
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    store_release(flags + turn, 1);
    out[turn] = turn + 1;
  }
}
MAGNET_CASE(waits_by_index, Global<uint64_t>, Global<uint32_t>, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(32, 32)
void waits_for_ever(Global<const uint64_t> flag, Global<uint32_t> out) {
  // With votes and a barrier in the loop, which is no progress either.
  while (kWrong && __any_sync(kAll, load_acquire(flag) == 0)) {  // wrong
    back_off();                                                  // wrong
    __syncthreads();
  }
  if (blockIdx.x == 0) out[threadIdx.x] = threadIdx.x + 1;
}
MAGNET_CASE(waits_for_ever, Global<const uint64_t>, Global<uint32_t>)

// Atomics that ask for a value, and a counter of the rounds.
template <bool kWrong>
MAGNET_KERNEL(32, 32)
void asks_for_ever(Global<uint32_t> flag, Global<uint32_t> rounds, Global<uint32_t> out) {
  while (atomic_add(flag, 0) == 0 && kWrong) {
    atomic_add(rounds, 1);
    back_off();  // wrong
  }
  out[threadIdx.x] = threadIdx.x + 1;
}
MAGNET_CASE(asks_for_ever, Global<uint32_t>, Global<uint32_t>, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(32, 32)
void spins(Global<uint64_t> flag, Global<uint32_t> out) {
  if (blockIdx.x == 1) {
    if (threadIdx.x == 0) store_release(flag, 1);
  } else {
    while (load_acquire(flag) == 0) {  // wrong
      if (!kWrong) back_off();
    }
    out[threadIdx.x] = threadIdx.x + 1;
  }
}
MAGNET_CASE(spins, Global<uint64_t>, Global<uint32_t>)

// On what it has read itself, which nobody changes.
template <bool kWrong>
MAGNET_KERNEL(64, 32)
void never_ends(Global<uint32_t> out) {
  const uint32_t last = out[threadIdx.x];
  uint32_t x = 0;
  while (x != last + (kWrong ? 1 : 0)) x += 2;  // wrong
  out[threadIdx.x] = threadIdx.x + 1;
}
MAGNET_CASE(never_ends, Global<uint32_t>)

// --- launches: of a right kernel with a wrong number of threads

template <bool kWrong>
MAGNET_KERNEL(1056, 32)
void fill(Global<uint32_t> out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < 64) out[i] = i + 1;
}
MAGNET_CASE(fill, Global<uint32_t>)

template <bool kWrong>
MAGNET_KERNEL(64, 32)
void against_its_bounds(Global<uint32_t> out) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < 64) out[i] = i + 1;
}
MAGNET_CASE(against_its_bounds, Global<uint32_t>)

}  // namespace magnet::cuda
