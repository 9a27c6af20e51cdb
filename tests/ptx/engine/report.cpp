// What faults say.
#include <cstdio>

#include "state.h"

namespace emulator {

std::string hex(uint64_t x) {
  char text[20];
  snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(x));
  return text;
}

// The line of the source, if the compiler said it (-lineinfo), and of the PTX.
std::string source_of(const Kernel& kernel, const Instr& i) {
  const std::string& source = kernel.sources[i.source];
  return (source.empty() ? "" : source + ", ") + "PTX line " + std::to_string(i.line);
}

void fail(const Warp& w, const Instr& i, int lane, const std::string& what) {
  const Launch& launch = *w.launch;
  std::string at = "kernel " + launch.kernel->name + ", seed " + std::to_string(launch.options.seed) + ", block " +
                   std::to_string(w.block->index);
  if (lane >= 0) at += ", thread " + std::to_string(32 * w.index + lane);
  at += " (warp " + std::to_string(w.index) + (lane >= 0 ? ", lane " + std::to_string(lane) : "") + "), at " +
        source_of(*launch.kernel, i) + ": " + launch.kernel->forms[i.form];
  throw Fault(what + "; " + at);
}

}  // namespace emulator
