#include "races.h"

#include <algorithm>

#include "state.h"

namespace emulator {

void LaneClocks::join(uint32_t lanes, bool all) {
  if (all) {
    all_ = now_++;
    return;
  }
  if (!some_) some_ = std::make_shared<Known>();
  std::array<uint32_t, 32> together{};
  emulator::each(lanes, [&](int lane) {
    for (int k = 0; k < 32; ++k) together[k] = std::max(together[k], (*some_)[lane][k]);
  });
  emulator::each(lanes, [&](int lane) { together[lane] = now_; });
  emulator::each(lanes, [&](int lane) { (*some_)[lane] = together; });
  ++now_;
}

bool LaneClocks::after(int lane, uint32_t lanes, uint32_t stamp) const {
  if (stamp <= all_) return true;
  if (!some_) return false;
  bool ordered = true;
  emulator::each(lanes, [&](int other) { ordered = ordered && (*some_)[lane][other] >= stamp; });
  return ordered;
}

namespace {
uint32_t next_epoch = 1;
}

void Clocks::begin(int64_t blocks, bool global) {
  first_ = next_epoch;
  blocks_ = blocks;
  global_ = global;
}

void Clocks::next(BlockClock& block, int64_t index) {
  if (next_epoch > 0xfffffff0u) throw Fault("the emulator has run too long: more than 2^32 barriers and atomics");
  block.epoch = next_epoch++;
  epochs_.push_back({static_cast<int32_t>(index), block.phase, block.segment});
}

void Clocks::start(BlockClock& block, int64_t index) {
  block.phase = block.learned = 0;
  block.segment = 1;
  if (global_) {
    block.known.assign(blocks_, 0);
    block.known[index] = 1;
  }
  next(block, index);
  block.first_epoch = block.epoch;
}

void Clocks::pass_barrier(BlockClock& block, int64_t index) {
  ++block.phase;
  next(block, index);
}

void Clocks::meet(BlockClock& block, int64_t index, uint64_t address, Access access) {
  Published& at = published_[address];
  if (at.last_block == index && at.last_learned == block.learned) {  // nothing new but its own segment
    if (writes(access)) at.known[index] = block.segment;
    return;
  }
  at.known.resize(blocks_);
  block.known[index] = block.segment;
  if (reads(access)) {
    bool news = false;
    for (int64_t k = 0; k < blocks_; ++k) {
      news = news || at.known[k] > block.known[k];
      block.known[k] = std::max(block.known[k], at.known[k]);
    }
    block.learned += news;
  }
  if (writes(access)) {
    for (int64_t k = 0; k < blocks_; ++k) at.known[k] = std::max(at.known[k], block.known[k]);
    at.last_block = index;
    at.last_learned = block.learned;
  }
}

void Clocks::released(BlockClock& block, int64_t index) {
  ++block.segment;
  next(block, index);
}

bool Clocks::unordered(const Warp& w, int lane, const Touch& then) const {
  const Block& block = *w.block;
  if (then.epoch < first_) return false;
  if (then.epoch != block.clock.epoch) {
    if (then.blocks) return true;
    const Epoch& epoch = epochs_[then.epoch - first_];
    if (epoch.block != block.index) return block.clock.known[epoch.block] < epoch.segment;
    if (epoch.phase != block.clock.phase) return false;
  }
  if (then.blocks || then.warps || static_cast<int>(then.warp) != w.index) return true;
  const uint32_t others = then.lanes & ~(1u << lane);
  return others != 0 && !w.order.after(lane, others, then.stamp);
}

}  // namespace emulator
