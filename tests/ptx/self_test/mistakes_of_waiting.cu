// Mistakes of who waits for whom: barriers, warps, blocks, endless loops, and launches.
#include "mistakes.cuh"

namespace magnet::cuda {

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
