#include "memory.h"

#include <map>
#include <mutex>

namespace emulator {
namespace {

struct Allocation {
  uint64_t end;
  std::unique_ptr<Shadow> shadow;
};
std::map<uint64_t, Allocation> allocations;  // by where they begin
// Shadows of what was forgotten, for what comes next: epochs differ, so that what they hold counts as never.
std::vector<std::unique_ptr<Shadow>> spare_shadows;
constexpr size_t kMostSpareShadows = 16;
constexpr int64_t kMostSpareWords = 4 << 20;
std::mutex allocations_lock;

struct Place {
  const char* space;
  int64_t offset, size;  // in the allocation or the variable
  std::string variable;

  std::string name(int more) const {
    return "byte " + std::to_string(offset + more) + " of " +
           (variable.empty() ? std::to_string(size) + " bytes of " + space + " memory"
                             : space + (" variable " + variable) + " (" + std::to_string(size) + " bytes)");
  }
};

[[noreturn]] void race(const Warp& w, const Instr& i, int lane, const char* what, const std::string& place,
                       const Touch& other, const char* verb) {
  const Launch& launch = *w.launch;
  const Instr& then = launch.kernel->code[other.instr];
  const int64_t block = launch.clocks.block_of(other);
  std::string who = other.blocks  ? "several blocks"
                    : other.warps ? "several warps"
                                  : "thread " + std::to_string(other.warp * 32 + __builtin_ctz(other.lanes));
  if (!other.blocks && block != w.block->index) who += " of block " + std::to_string(block);
  const char* order = other.blocks || block != w.block->index                   ? "no acquire and release"
                      : !other.warps && static_cast<int>(other.warp) == w.index ? "no __syncwarp"
                                                                                : "no __syncthreads";
  fail(w, i, lane,
       std::string("race: ") + what + " " + place + ", which " + who + " " + verb + " at " +
           source_of(*launch.kernel, then) + " with " + order + " between");
}

// The access in the records of its place. `value`: what will be written, `old`: what is there; `place` makes a Place,
// for an error.
template <bool kShared>
void note(Warp& w, const Instr& i, int lane, Shadow& shadow, int64_t at, int bytes, Access access, const uint8_t* value,
          const uint8_t* old, const auto& place) {
  Launch& launch = *w.launch;
  const BlockClock& clock = w.block->clock;
  const Clocks& clocks = launch.clocks;
  const bool strong = is_strong(access);
  const char* what = access == Access::atomic ? "atomic of" : writes(access) ? "write of" : "read of";
  // A load that is no more than that: its registers come first, then the address.
  const int element = access == Access::read && i.unused ? bytes / (i.count - 1) : 0;
  shadow.each(at, bytes, [&](Record& record, int k, int n) {
    if (element) {  // what is loaded beside what is needed is as if it was not
      bool needed = false;
      for (int e = k / element; e * element < k + n; ++e) needed = needed || !(i.unused >> e & 1);
      if (!needed) return;
    }
    Touch& write = record.write;
    Touch& read = record.read;
    const Touch now{.epoch = clock.epoch,
                    .lanes = 1u << lane,
                    .stamp = w.order.now(),
                    .instr = static_cast<uint32_t>(i.index),
                    .warp = static_cast<uint32_t>(w.index),
                    .strong = strong};
    if (write.epoch < (kShared ? clock.first_epoch : clocks.first_epoch())) {
      if (kShared && reads(access)) {
        fail(w, i, lane, std::string(what) + " " + place().name(k) + ", which was never written in this block");
      }
    } else if (!(strong && write.strong) && clocks.unordered(w, lane, write)) {
      const bool same = launch.options.same_values && writes(access) && value && !std::memcmp(value + k, old + k, n);
      if (!same) race(w, i, lane, what, place().name(k), write, "wrote");
    }
    const bool concurrent =
        read.epoch >= (kShared ? clock.first_epoch : clocks.first_epoch()) && clocks.unordered(w, lane, read);
    if (!writes(access)) {
      if (!concurrent) {
        read = now;
        return;
      }
      const bool same_block = !read.blocks && clocks.block_of(read) == w.block->index;
      read.blocks |= !same_block;
      read.warps |= static_cast<int>(read.warp) != w.index;
      read.lanes |= 1u << lane;
      read.stamp = std::max(read.stamp, w.order.now());
      read.epoch = clock.epoch;
      read.strong &= strong;
      return;
    }
    if (concurrent && !(strong && read.strong)) {
      const bool same = launch.options.same_values && value && !std::memcmp(value + k, old + k, n);
      if (!same) race(w, i, lane, what, place().name(k), read, "read");
    }
    const bool joins = strong && write.strong && write.epoch >= (kShared ? clock.first_epoch : clocks.first_epoch()) &&
                       clocks.block_of(write) == w.block->index && clocks.unordered(w, lane, write);
    if (joins) {
      write.warps |= static_cast<int>(write.warp) != w.index;
      write.lanes |= 1u << lane;
      write.stamp = std::max(write.stamp, w.order.now());
      write.epoch = clock.epoch;
    } else {
      write = now;
    }
    read = Touch{};
  });
}

[[noreturn]] void nowhere(Warp& w, const Instr& i, int lane, uint64_t address, int bytes) {
  std::string near;
  const auto relation = [&](uint64_t begin, uint64_t end) {
    const std::string of = " of " + std::to_string(end - begin) + " bytes at " + hex(begin);
    if (address < begin) return std::to_string(begin - address) + " bytes before the start" + of;
    if (address < end) return std::to_string(address + bytes - end) + " of them past the end" + of;
    return std::to_string(address - end) + " bytes past the end" + of;
  };
  const auto after = allocations.upper_bound(address);
  if (after != allocations.begin()) near = relation(std::prev(after)->first, std::prev(after)->second.end);
  if (after != allocations.end()) near += (near.empty() ? "" : ", ") + relation(after->first, after->second.end);
  if (address < 4096) near = "a null pointer";
  fail(w, i, lane,
       "out of bounds: global access of " + std::to_string(bytes) + " bytes at " + hex(address) + ": " +
           (near.empty() ? "no memory is registered" : near));
}

void find_allocation(Warp& w, const Instr& i, int lane, uint64_t address, int bytes) {
  std::lock_guard lock(allocations_lock);
  const auto after = allocations.upper_bound(address);
  if (after == allocations.begin()) nowhere(w, i, lane, address, bytes);
  const auto found = std::prev(after);
  if (address + bytes > found->second.end) nowhere(w, i, lane, address, bytes);
  i.low = found->first;
  i.high = found->second.end;
  if (!w.launch->clocks.global()) return;
  if (!found->second.shadow) {
    if (spare_shadows.empty()) {
      found->second.shadow = std::make_unique<Shadow>();
    } else {
      found->second.shadow = std::move(spare_shadows.back());
      spare_shadows.pop_back();
    }
    found->second.shadow->cover(i.high - i.low + 4);
  }
  i.shadow = found->second.shadow.get();
}

}  // namespace

uint8_t* global_at(Warp& w, const Instr& i, int lane, uint64_t address, int bytes, Access access, const void* value) {
  if (address % bytes != 0) {
    fail(w, i, lane, "misaligned global access of " + std::to_string(bytes) + " bytes at " + hex(address));
  }
  if (address < i.low || address + bytes > i.high) find_allocation(w, i, lane, address, bytes);
  uint8_t* data = reinterpret_cast<uint8_t*>(address);
  if (w.launch->clocks.global()) {
    Block& block = *w.block;
    if (is_strong(access)) w.launch->clocks.meet(block.clock, block.index, address, access);
    const int64_t offset = address - (i.low & ~uint64_t{3});  // records are of whole words
    note<false>(w, i, lane, *i.shadow, offset, bytes, access, static_cast<const uint8_t*>(value), data,
                [&] { return Place{"global", int64_t(address - i.low), int64_t(i.high - i.low), ""}; });
  }
  return data;
}

uint8_t* shared_at(Warp& w, const Instr& i, int lane, uint64_t address, int bytes, Access access, const void* value) {
  Block& block = *w.block;
  address &= 0xffffffff;  // a register and an offset are added in 32 bits
  if (address % bytes != 0) {
    fail(w, i, lane, "misaligned shared access of " + std::to_string(bytes) + " bytes at " + hex(address));
  }
  const Variable* inside = nullptr;
  for (const Variable& v : w.launch->kernel->shared) {
    const int64_t end = v.end == v.begin ? w.launch->shared_bytes : v.end;
    if (int64_t(address) >= v.begin && int64_t(address) + bytes <= end) inside = &v;
  }
  if (!inside) {
    std::string near;
    for (const Variable& v : w.launch->kernel->shared) {
      const int64_t end = v.end == v.begin ? w.launch->shared_bytes : v.end;
      const int64_t from = int64_t(int32_t(address)) - v.begin;
      near += (near.empty() ? ": byte " : ", byte ") + std::to_string(from) + " of " + v.name + " (" +
              std::to_string(end - v.begin) + " bytes)";
    }
    fail(w, i, lane,
         "out of bounds: shared access of " + std::to_string(bytes) + " bytes" +
             (near.empty() ? ": the kernel has no shared variable" : near));
  }
  uint8_t* data = block.shared.data() + address;
  if (w.launch->options.races) {
    note<true>(w, i, lane, block.shadow, address, bytes, access, static_cast<const uint8_t*>(value), data, [&] {
      const int64_t end = inside->end == inside->begin ? w.launch->shared_bytes : inside->end;
      return Place{"shared", int64_t(address) - inside->begin, end - inside->begin, inside->name};
    });
  }
  return data;
}

const uint8_t* param_at(Warp& w, const Instr& i, int lane, uint64_t address, int bytes) {
  if (address + bytes > static_cast<uint64_t>(w.launch->kernel->param_bytes))
    fail(w, i, lane, "parameter out of bounds");
  return w.launch->params + address;
}

void after_strong_write(Warp& w) {
  if (w.launch->clocks.global()) w.launch->clocks.released(w.block->clock, w.block->index);
}

void register_memory(uint64_t begin, uint64_t bytes) {
  std::lock_guard lock(allocations_lock);
  if (bytes > 0) allocations[begin] = {begin + bytes, nullptr};
}
void forget_memory(uint64_t begin) {
  std::lock_guard lock(allocations_lock);
  const auto found = allocations.find(begin);
  if (found == allocations.end()) return;
  std::unique_ptr<Shadow>& shadow = found->second.shadow;
  if (shadow && spare_shadows.size() < kMostSpareShadows && shadow->words() < kMostSpareWords) {
    spare_shadows.push_back(std::move(shadow));
  }
  allocations.erase(found);
}
bool is_registered(uint64_t address) {
  std::lock_guard lock(allocations_lock);
  const auto after = allocations.upper_bound(address);
  return after != allocations.begin() && address < std::prev(after)->second.end;
}

}  // namespace emulator
