// torch's current stream, asked for at run time. Needs neither CUDA nor torch.
#pragma once

#include <cstdint>

namespace magnet {

// The current stream of a device, a cudaStream_t. Throws where this torch has no CUDA.
void* current_stream(int32_t device);

}  // namespace magnet
