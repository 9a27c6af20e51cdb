// What lets csrc/common compile for the host and, under nvcc, for the device.
#pragma once

#if defined(__CUDACC__)
#define MAGNET_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define MAGNET_HOST_DEVICE inline
#endif
