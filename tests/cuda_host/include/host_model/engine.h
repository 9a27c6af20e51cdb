// Runs grids: a few blocks at a time, every thread of them a fiber, in an order that looks random and is not.
//
// A thread runs until it waits: at a barrier, in a warp operation, in back_off(), or until it ends. Whatever it does
// wrong is thrown from `run` as a std::runtime_error; the other fibers are then abandoned where they stand.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <numeric>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "host_model/switch.h"

struct MagnetHostModelIndex {
  unsigned x = 0, y = 0, z = 0;
};
inline MagnetHostModelIndex threadIdx, blockIdx, blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace magnet::host_model {

using Location = std::source_location;

constexpr int kWarp = 32;
constexpr int kMaxThreads = 1024;          // of a block
constexpr int kMaxResidentThreads = 2048;  // of all blocks that run at once
constexpr int kMaxResidentBlocks = 4;
constexpr size_t kSharedBytes = 48 << 10;  // of a block, static
constexpr int kIdleRounds = 256;           // of nothing but waiting that changes no memory: a deadlock
constexpr int kWaitingRounds = 1 << 14;    // of nothing but waiting: a deadlock, too
constexpr int kAcquiresInARow = 1 << 20;   // without back_off(): an endless loop

// When and by whom a memory element was accessed: the phase of the block (from one __syncthreads to the next; no two
// blocks share one), the thread, whether atomically, and how many __syncwarp the thread had passed.
using Stamp = uint64_t;
constexpr int kPhaseShift = 32, kThreadShift = 22;
constexpr Stamp kAtomic = Stamp(1) << 21, kClock = kAtomic - 1;
inline int thread_of(Stamp stamp) { return static_cast<int>(stamp >> kThreadShift) & (kMaxThreads - 1); }

// Who accessed an element last.
struct Cell {
  Stamp write = 0;
  Stamp read = 0, other_read = 0;  // other_read: by a thread of another warp where there is one
};

// A shared array of a block.
struct Array {
  const void* site;  // its declaration
  const char* name;
  char* begin;
  char* end;
  Cell* cells;  // one an element
};

struct Block;

// What a warp operation is given and gives back.
enum class WarpOperation : uint8_t {
  sync,
  shuffle,
  ballot,
  any,
  all,
  match_any,
  add,
  min_signed,
  max_signed,
  min_unsigned,
  max_unsigned,
  bit_and,
  bit_or,
  bit_xor
};
inline const char* name_of(WarpOperation operation) {
  constexpr const char* names[] = {"__syncwarp",        "__shfl_sync",       "__ballot_sync",     "__any_sync",
                                   "__all_sync",        "__match_any_sync",  "__reduce_add_sync", "__reduce_min_sync",
                                   "__reduce_max_sync", "__reduce_min_sync", "__reduce_max_sync", "__reduce_and_sync",
                                   "__reduce_or_sync",  "__reduce_xor_sync"};
  return names[static_cast<int>(operation)];
}

enum class BlockOperation : uint8_t { sync, any, all, count };

struct Thread {
  Context context{};
  Block* block = nullptr;
  int index = 0;
  uint32_t clock = 0;
  Location at{};  // where it last waited
  // The warp operation in which it waits, or which it passed last.
  WarpOperation operation{};
  uint32_t mask = 0;
  int source = 0;
  uint64_t value = 0, result = 0;

  int lane() const { return index % kWarp; }
};

struct Warp {
  uint32_t waiting = 0;   // lanes in a warp operation
  uint32_t expected = 0;  // lanes of the masks of those operations
  uint32_t blocked = 0;   // lanes at a barrier of the block
  uint32_t done = 0;
  int groups = 0;  // of lanes that wait, by their mask
  // rows[row_of[a]][b]: what lane b did before its clock showed that, lane a may rely on.
  std::array<std::array<uint32_t, kWarp>, kWarp> rows;
  std::array<uint32_t, kWarp> users;  // lanes of a row
  std::array<uint8_t, kWarp> row_of;

  void start() {
    waiting = expected = blocked = done = 0;
    groups = 0;
    rows[0].fill(0);
    users.fill(0);
    users[0] = ~0u;
    row_of.fill(0);
  }
};

struct Block {
  int64_t index = 0;
  std::vector<Thread> threads = std::vector<Thread>(kMaxThreads);
  std::vector<Warp> warps = std::vector<Warp>(kMaxThreads / kWarp);
  std::vector<int> ready, spinning;
  int size = 0, alive = 0;
  uint32_t phase = 0, first_phase = 0;
  // The barrier that threads wait at, and what the last one gave.
  int arrived = 0;
  int first_arrived = 0;
  BlockOperation operation{};
  Location site{};
  int count = 0, result = 0;
  // Shared memory.
  std::vector<Array> arrays;
  std::unique_ptr<char[]> memory = std::make_unique<char[]>(2 * kSharedBytes);
  size_t used = 0;   // bytes of `memory`, which has room for gaps
  size_t bytes = 0;  // as CUDA counts them
  Cell* cells = static_cast<Cell*>(std::calloc(kSharedBytes, sizeof(Cell)));
  size_t used_cells = 0;

  Block() {
    if (!cells) throw std::bad_alloc();
    arrays.reserve(64);
  }
  Block(const Block&) = delete;
  ~Block() { std::free(cells); }
};

// The thread that runs; null on the host side.
struct Current {
  Thread* thread = nullptr;
  Block* block = nullptr;
  Stamp stamp = 0;
  Stamp first = 0;        // the least stamp of the block
  uint64_t progress = 0;  // changes of what other blocks can see
  uint64_t ends = 0;      // of threads
  int acquires = 0;
  Location at{};  // the last access to memory
};
inline Current current;

struct GlobalCell {
  uintptr_t address = 0;
  Stamp write = 0, read = 0;
};
constexpr size_t kGlobalCells = 1 << 14;

struct Random {
  uint64_t state = 1;
  uint32_t operator()() {  // splitmix64
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<uint32_t>((z ^ (z >> 31)) >> 16);
  }
  uint32_t below(size_t count) { return static_cast<uint32_t>((uint64_t((*this)()) * count) >> 32); }
};

struct Machine {
  std::mutex mutex;  // one grid at a time
  Stacks stacks;
  std::vector<std::unique_ptr<Block>> blocks;
  Context scheduler{};
  Random random;
  uint32_t phases = 0;
  uint64_t seed = 0, launches = 0;
  std::vector<GlobalCell> global = std::vector<GlobalCell>(kGlobalCells);
  // The grid that runs.
  const char* kernel = "";
  void (*call)(const void*) = nullptr;
  const void* arguments = nullptr;
  bool failed = false;
  std::string error;
};
inline Machine machine;

// For tests: how many kernels have been launched.
extern "C" __attribute__((used, visibility("default"))) inline uint64_t magnet_host_model_launches() {
  return machine.launches;
}

inline std::string describe(const Location& at) {
  std::string file = at.file_name();
  for (const char* folder : {"csrc/", "tests/"}) {
    const size_t found = file.rfind(folder);
    if (found != std::string::npos) {
      file = file.substr(found);
      break;
    }
  }
  return file.empty() ? "an unknown place" : file + ":" + std::to_string(at.line());
}

inline std::string describe(const Thread& thread) {
  return "thread " + std::to_string(thread.index) + " (warp " + std::to_string(thread.index / kWarp) + ", lane " +
         std::to_string(thread.lane()) + ")";
}

inline std::string hexadecimal(uint32_t mask) {
  std::string text = "0x00000000";
  for (int i = 9; i > 1; --i, mask >>= 4) text[i] = "0123456789abcdef"[mask & 15];
  return text;
}

inline std::string launch_name() {
  return std::string("kernel ") + machine.kernel + " (MAGNET_CUDA_HOST_SEED=" + std::to_string(machine.seed) +
         ", launch " + std::to_string(machine.launches) + ")";
}

// What a thread did wrong. Ends the grid.
[[noreturn, gnu::noinline, gnu::cold]] inline void fail(const std::string& what, const Location& at) {
  if (!current.thread)
    throw std::runtime_error("host model: " + what + " at " + describe(at) + ", outside of a kernel");
  throw std::runtime_error("host model: " + launch_name() + ", block " + std::to_string(current.block->index) + ", " +
                           describe(*current.thread) + ": " + what + " at " + describe(at));
}

inline Warp& warp_of(const Thread& thread) { return thread.block->warps[thread.index / kWarp]; }

inline void update_stamp() {
  const Thread& thread = *current.thread;
  current.stamp =
      Stamp(thread.block->phase) << kPhaseShift | Stamp(thread.index) << kThreadShift | (Stamp(thread.clock) & kClock);
}

// Whether `other`, of the same phase and another thread, may have happened at the same time.
[[gnu::noinline]] inline bool unordered_in_phase(Stamp other) {
  const Thread& thread = *current.thread;
  const int index = thread_of(other);
  if (index / kWarp != thread.index / kWarp) return true;
  const Warp& warp = warp_of(thread);
  return (other & kClock) >= warp.rows[warp.row_of[thread.lane()]][index % kWarp];
}
[[gnu::always_inline]] inline bool concurrent(Stamp other) {
  const Stamp difference = other ^ current.stamp;
  if (difference >> kPhaseShift) return false;
  if (!(difference >> kThreadShift)) return false;
  return unordered_in_phase(other);
}

// --- waiting

// Leaves the thread, which must be in some list to go on.
inline void suspend() { switch_context(current.thread->context, machine.scheduler); }

[[noreturn, gnu::noinline, gnu::cold]] inline void barrier_mismatch(const Thread& thread, const Location& at) {
  const Block& block = *thread.block;
  const Thread& other = block.threads[block.first_arrived];
  fail("barrier divergence: " + describe(other) + " waits at the barrier at " + describe(block.site) +
           " while this thread reached another one",
       at);
}

inline bool same_place(const Location& a, const Location& b) {
  return a.line() == b.line() && a.column() == b.column() &&
         (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

inline int barrier(BlockOperation operation, bool predicate, const Location& at) {
  Thread& thread = *current.thread;
  Block& block = *thread.block;
  Warp& warp = warp_of(thread);
  thread.at = at;
  const uint32_t bit = 1u << thread.lane();
  if (warp.expected & bit) {
    fail("a lane of its warp waits for it in a warp operation, but it reached a barrier of the block", at);
  }
  if (block.alive != block.size) {
    fail("barrier divergence: " + std::to_string(block.size - block.alive) +
             " threads of the block have ended and will not reach the barrier",
         at);
  }
  if (block.arrived == 0) {
    block.site = at;
    block.operation = operation;
    block.first_arrived = thread.index;
    block.count = 0;
  } else if (block.operation != operation || !same_place(block.site, at)) {
    barrier_mismatch(thread, at);
  }
  block.count += predicate;
  warp.blocked |= bit;
  if (++block.arrived < block.size) {
    suspend();
    return block.result;
  }
  block.arrived = 0;
  switch (operation) {
    case BlockOperation::any:
      block.result = block.count != 0;
      break;
    case BlockOperation::all:
      block.result = block.count == block.size;
      break;
    default:
      block.result = block.count;
  }
  block.phase = ++machine.phases;
  for (int i = 0; i < block.size / kWarp; ++i) block.warps[i].blocked = 0;
  for (int i = 0; i < block.size; ++i) {
    if (i != thread.index) block.ready.push_back(i);
  }
  update_stamp();
  return block.result;
}

inline void back_off(const Location& at) {
  Thread& thread = *current.thread;
  thread.at = at;
  thread.block->spinning.push_back(thread.index);
  suspend();
}

// --- running

// The thread has ended.
inline void finish() {
  Thread& thread = *current.thread;
  Block& block = *thread.block;
  Warp& warp = warp_of(thread);
  if (warp.expected >> thread.lane() & 1) {
    fail("it ended while a lane of its warp waits for it in a warp operation; it was last seen", thread.at);
  }
  if (block.arrived) {
    fail("barrier divergence: it ended while " + describe(block.threads[block.first_arrived]) + " waits at the barrier",
         block.site);
  }
  warp.done |= 1u << thread.lane();
  --block.alive;
  ++current.progress;
  ++current.ends;
}

// Where every fiber starts.
inline void fiber() {
  try {
    machine.call(machine.arguments);
    finish();
  } catch (const std::exception& error) {
    machine.failed = true;
    machine.error = error.what();
  } catch (...) {
    machine.failed = true;
    machine.error = "an unknown exception in " + launch_name();
  }
  suspend();  // for ever
  std::abort();
}

inline void resume(Block& block, int index) {
  Thread& thread = block.threads[index];
  current.thread = &thread;
  current.block = &block;
  current.first = Stamp(block.first_phase) << kPhaseShift;
  current.acquires = 0;
  current.at = thread.at;
  update_stamp();
  threadIdx.x = static_cast<unsigned>(index);
  blockIdx.x = static_cast<unsigned>(block.index);
  switch_context(machine.scheduler, thread.context);
  current.thread = nullptr;
}

inline void start_block(Block& block, size_t slot, int64_t index, int threads) {
  block.index = index;
  block.size = block.alive = threads;
  block.first_phase = block.phase = ++machine.phases;
  block.arrived = 0;
  block.arrays.clear();
  block.used = block.bytes = block.used_cells = 0;
  block.ready.clear();
  block.spinning.clear();
  for (int i = 0; i < threads / kWarp; ++i) block.warps[i].start();
  for (int i = 0; i < threads; ++i) {
    Thread& thread = block.threads[i];
    thread.block = &block;
    thread.index = i;
    thread.clock = 0;
    thread.at = Location();
    prepare(thread.context, machine.stacks.top(slot * kMaxThreads + i), fiber);
    block.ready.push_back(i);
  }
}

inline void start_launch(const char* kernel, int64_t blocks, int threads) {
  const char* variable = std::getenv("MAGNET_CUDA_HOST_SEED");
  const uint64_t seed = variable ? std::strtoull(variable, nullptr, 10) : 0;
  if (seed != machine.seed) machine.launches = 0;
  machine.seed = seed;
  machine.random.state = seed * 0x2545f4914f6cdd1d + ++machine.launches;
  machine.kernel = kernel;
  machine.failed = false;
  machine.error.clear();
  if (threads < kWarp || threads > kMaxThreads || threads % kWarp) {
    throw std::runtime_error("host model: " + launch_name() + ": blocks of " + std::to_string(threads) +
                             " threads; expected whole warps, 1024 threads at most");
  }
  if (machine.phases > 0x7fffffffu) {  // start anew, far from the end
    for (auto& block : machine.blocks) std::memset(static_cast<void*>(block->cells), 0, kSharedBytes * sizeof(Cell));
    machine.global.assign(kGlobalCells, {});
    machine.phases = 0;
  }
  threadIdx = blockIdx = {};
  blockDim = {static_cast<unsigned>(threads), 1, 1};
  gridDim = {static_cast<unsigned>(blocks), 1, 1};
}

// No thread can go on.
[[noreturn]] inline void deadlock(const std::vector<size_t>& active) {
  std::string all;
  const auto add = [&](const Thread& thread, const std::string& what) {
    if (all.size() > 800) return;
    all += "; block " + std::to_string(thread.block->index) + ", " + describe(thread) + " " + what + " at " +
           describe(thread.at);
  };
  for (size_t slot : active) {
    const Block& block = *machine.blocks[slot];
    for (int i : block.spinning) add(block.threads[i], "in back_off");
    for (int i = 0; i < block.size; ++i) {
      const Thread& thread = block.threads[i];
      if (block.warps[i / kWarp].waiting >> thread.lane() & 1) {
        add(thread, std::string("in ") + name_of(thread.operation) + " of lanes " + hexadecimal(thread.mask));
      }
      if (block.warps[i / kWarp].blocked >> thread.lane() & 1) add(thread, "at the barrier");
    }
  }
  throw std::runtime_error("host model: " + launch_name() +
                           ": deadlock: all threads wait for others: " + all.substr(all.empty() ? 0 : 2));
}

// Runs `call(arguments)` in every thread of the grid.
inline void run(const char* kernel, int64_t blocks, int threads, void (*call)(const void*), const void* arguments) {
  const std::lock_guard lock(machine.mutex);
  start_launch(kernel, blocks, threads);
  machine.call = call;
  machine.arguments = arguments;
  Random& random = machine.random;

  const size_t fit = static_cast<size_t>(std::min(kMaxResidentBlocks, kMaxResidentThreads / threads));
  const size_t residents = 1 + random.below(fit);
  while (machine.blocks.size() < residents) machine.blocks.push_back(std::make_unique<Block>());
  std::vector<size_t> vacant, active;  // slots
  for (size_t slot = residents; slot-- > 0;) vacant.push_back(slot);
  std::vector<uint32_t> waiting(static_cast<size_t>(blocks));  // blocks not yet started
  std::iota(waiting.begin(), waiting.end(), 0u);

  size_t turn = 0, left = 0;        // which of `active` runs, and how many more steps of it
  uint64_t progress = 0, ends = 0;  // as last seen
  int idle = 0, waiting_rounds = 0;
  while (true) {
    while (!vacant.empty() && !waiting.empty()) {
      std::swap(waiting[random.below(waiting.size())], waiting.back());
      start_block(*machine.blocks[vacant.back()], vacant.back(), waiting.back(), threads);
      active.push_back(vacant.back());
      vacant.pop_back();
      waiting.pop_back();
      ++current.progress;
    }
    if (active.empty()) return;
    if (left == 0 || machine.blocks[active[turn]]->ready.empty()) {
      std::array<size_t, kMaxResidentBlocks> able;
      size_t ables = 0;
      for (size_t i = 0; i < active.size(); ++i) {
        Block& block = *machine.blocks[active[i]];
        // Now and then a waiting thread looks again while others still work.
        if (!block.spinning.empty() && random.below(4) == 0) {
          block.ready.push_back(block.spinning.back());
          block.spinning.pop_back();
        }
        if (!block.ready.empty()) able[ables++] = i;
      }
      if (ables == 0) {
        idle = progress == current.progress ? idle + 1 : 0;
        waiting_rounds = ends == current.ends ? waiting_rounds + 1 : 0;
        progress = current.progress;
        ends = current.ends;
        bool spinning = false;
        for (size_t slot : active) spinning |= !machine.blocks[slot]->spinning.empty();
        if (!spinning || idle == kIdleRounds || waiting_rounds == kWaitingRounds) deadlock(active);
        for (size_t slot : active) {
          Block& block = *machine.blocks[slot];
          block.ready.swap(block.spinning);
        }
        left = 0;
        continue;
      }
      turn = able[random.below(ables)];
      left = 1 + random.below(64);
    }
    --left;
    const size_t slot = active[turn];
    Block& block = *machine.blocks[slot];
    std::swap(block.ready[random.below(block.ready.size())], block.ready.back());
    const int thread = block.ready.back();
    block.ready.pop_back();
    resume(block, thread);
    if (machine.failed) throw std::runtime_error(machine.error);
    if (block.alive == 0) {
      vacant.push_back(slot);
      active.erase(active.begin() + static_cast<std::ptrdiff_t>(turn));
      turn = left = 0;
    }
  }
}

}  // namespace magnet::host_model
