// What Python and the stand-in for the CUDA runtime call.
#include <algorithm>
#include <memory>
#include <mutex>

#include "load.h"
#include "machine.h"
#include "memory.h"

using namespace emulator;

namespace {

std::mutex lock;  // one launch at a time
thread_local std::string last_error;
std::vector<std::unique_ptr<Kernel>> kernels;

}  // namespace

extern "C" {

const char* emulator_error() { return last_error.c_str(); }

void emulator_register(uint64_t begin, uint64_t bytes) { register_memory(begin, bytes); }
void emulator_forget(uint64_t begin) { forget_memory(begin); }
int emulator_registered(uint64_t address) { return is_registered(address); }

void emulator_statistics(Statistics* to) { *to = counted(); }

// A handle of the kernel, or -1 with the reason in emulator_error().
int64_t emulator_kernel(const Decoded* decoded) {
  try {
    std::lock_guard one(lock);
    kernels.push_back(load(*decoded));
    return static_cast<int64_t>(kernels.size()) - 1;
  } catch (const std::exception& error) {
    last_error = error.what();
    return -1;
  }
}

// The parameters of a kernel as the runtime is given them: a pointer each.
int emulator_collect(int64_t kernel, void** arguments, uint8_t* to, int64_t room) {
  const Kernel& k = *kernels.at(kernel);
  if (k.param_bytes > room) return 1;
  for (size_t i = 0; i < k.params.size(); ++i) std::memcpy(to + k.params[i].first, arguments[i], k.params[i].second);
  return 0;
}

// 0, or 1 with the reason in emulator_error().
int emulator_launch(int64_t kernel, const int32_t* grid, const int32_t* block, int64_t dynamic_shared,
                    const uint8_t* params, const Options* options) {
  std::lock_guard one(lock);
  try {
    Launch launch{};
    launch.kernel = kernels.at(kernel).get();
    std::copy(grid, grid + 3, launch.grid);
    std::copy(block, block + 3, launch.block);
    launch.shared_bytes = launch.kernel->shared_bytes + dynamic_shared;
    launch.params = params;
    launch.options = *options;
    launch.threads = block[0] * block[1] * block[2];
    run(launch);
    return 0;
  } catch (const std::exception& error) {
    last_error = error.what();
    return 1;
  }
}

}  // extern "C"
