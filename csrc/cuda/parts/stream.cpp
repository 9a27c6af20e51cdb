// The getter of torch's stream lives in libtorch_cuda.so, which a CPU build of torch lacks, so that to link against it
// would tie this library to one build of torch. By its name it is found wherever torch itself has loaded it.
#include "cuda/parts/stream.h"

#include <dlfcn.h>

#include <stdexcept>

namespace magnet {
namespace {

using CurrentStream = int32_t (*)(int32_t device, void** stream);  // 0 is success, as everywhere in torch's C interface

CurrentStream find() {
  // RTLD_NOLOAD: the one that is there, whatever folder it came from; no second one.
  void* library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  if (!library) return nullptr;
  return reinterpret_cast<CurrentStream>(dlsym(library, "aoti_torch_get_current_cuda_stream"));
}

CurrentStream getter() {
  static const CurrentStream found = find();
  return found;
}

}  // namespace

void* current_stream(int32_t device) {
  if (!getter()) {
    throw std::runtime_error(
        "aoti_torch_get_current_cuda_stream: not found in this torch; CUDA builds from 2.11 on have it");
  }
  void* stream = nullptr;
  if (getter()(device, &stream) != 0) throw std::runtime_error("torch did not tell its current CUDA stream");
  return stream;
}

}  // namespace magnet

// Whether current_stream() can work in this process. For the loader, by ctypes.
extern "C" __attribute__((visibility("default"))) int32_t magnet_cuda_finds_stream() {
  return magnet::getter() != nullptr;
}
