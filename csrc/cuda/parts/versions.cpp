// Which CUDA this library was built with, and which one the driver supports. For the loader, by ctypes.
#include <cstdint>

#ifndef MAGNET_EMULATED  // where there is neither
// Of the runtime, which is linked statically; the C++ compiler needs none of its headers. 0 is success.
extern "C" int cudaRuntimeGetVersion(int* version);
extern "C" int cudaDriverGetVersion(int* version);

// Both as 1000 * major + 10 * minor, 0 where it is not known; driver 0: there is none. Starts nothing on a GPU.
extern "C" __attribute__((visibility("default"))) void magnet_cuda_versions(int32_t* runtime, int32_t* driver) {
  if (cudaRuntimeGetVersion(runtime) != 0) *runtime = 0;
  if (cudaDriverGetVersion(driver) != 0) *driver = 0;
}
#endif
