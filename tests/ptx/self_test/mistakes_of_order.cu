// Mistakes of when: races in shared and global memory, within a warp, a block and between blocks.
#include "mistakes.cuh"

namespace magnet::cuda {

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

}  // namespace magnet::cuda
