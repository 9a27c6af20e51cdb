// Which accesses are ordered. Inside a block barriers order, inside a warp bar.warp.sync does, for its lanes and whom
// they have met; between blocks what they publish and learn by strong accesses: atomics, acquire, release and relaxed
// ones. Every atomic counts as acquire and release, and for its whole block: some races are not seen, none is made up.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

namespace emulator {

struct Warp;
struct Instr;

enum class Access : int8_t { read, write, atomic, strong_read, strong_write };
constexpr bool is_strong(Access a) { return a != Access::read && a != Access::write; }
constexpr bool reads(Access a) { return a != Access::write && a != Access::strong_write; }
constexpr bool writes(Access a) { return a != Access::read && a != Access::strong_read; }

// Who last wrote to a place or has read it since.
struct Touch {
  uint32_t epoch = 0;  // a stretch of a block's life, see Clocks; 0: nobody
  uint32_t lanes = 0;  // those whose accesses are in no order
  uint32_t stamp = 0;  // the last of theirs, see LaneClocks
  uint32_t instr : 24 = 0;
  uint32_t warp : 5 = 0;
  uint32_t warps : 1 = 0;   // several of the block
  uint32_t blocks : 1 = 0;  // several
  uint32_t strong : 1 = 0;
};
struct Record {
  Touch write, read;
};

// Records of a stretch of memory, a word each; of those words that were accessed in parts, a byte each.
class Shadow {
 public:
  void cover(int64_t bytes) {
    if (words() < (bytes + 3) / 4) words_.resize((bytes + 3) / 4);
  }
  int64_t words() const { return static_cast<int64_t>(words_.size()); }

  // f(record, first byte of it counted from `offset`, bytes) for what an access of `bytes` touches; it is aligned.
  template <class F>
  void each(int64_t offset, int bytes, F f) {
    if (bytes >= 4 && offset % 4 == 0) {
      for (int k = 0; k < bytes; k += 4) {
        Record& word = words_[(offset + k) / 4];
        if (word.write.epoch != kSplit) {
          f(word, k, 4);
        } else {
          for (int b = 0; b < 4; ++b) f(parts_[word.write.lanes][b], k + b, 1);
        }
      }
    } else {
      for (int k = 0; k < bytes; ++k) f(part((offset + k) / 4)[(offset + k) % 4], k, 1);
    }
  }

 private:
  static constexpr uint32_t kSplit = ~0u;
  std::array<Record, 4>& part(int64_t word) {
    Record& whole = words_[word];
    if (whole.write.epoch != kSplit) {
      parts_.push_back({whole, whole, whole, whole});
      whole.write.epoch = kSplit;
      whole.write.lanes = static_cast<uint32_t>(parts_.size()) - 1;
    }
    return parts_[whole.write.lanes];
  }
  std::vector<Record> words_;
  std::vector<std::array<Record, 4>> parts_;
};

// Of the lanes of a warp: whose accesses come before whose.
class LaneClocks {
 public:
  uint32_t now() const { return now_; }
  void join(uint32_t lanes, bool all);  // by bar.warp.sync
  // Whether a lane comes after the accesses of `lanes` up to that time.
  bool after(int lane, uint32_t lanes, uint32_t stamp) const;

 private:
  using Known = std::array<std::array<uint32_t, 32>, 32>;  // [lane][other]: up to when
  uint32_t now_ = 1, all_ = 0;                             // all_: when all lanes met last
  std::shared_ptr<Known> some_;                            // where fewer than all have met
};

struct BlockClock {
  uint32_t epoch = 0, first_epoch = 0;
  uint32_t phase = 0;           // barriers so far
  uint32_t segment = 1;         // strong writes so far
  uint32_t learned = 0;         // how often `known` has changed
  std::vector<uint32_t> known;  // of each block, how many of its segments happened before
};

// Of a launch. An epoch is a stretch of a block's life with no barrier and no strong write; epochs of all launches
// differ, so that nothing need be cleared.
class Clocks {
 public:
  void begin(int64_t blocks, bool global);
  bool global() const { return global_; }
  uint32_t first_epoch() const { return first_; }
  void start(BlockClock& block, int64_t index);
  void pass_barrier(BlockClock& block, int64_t index);
  // Before a strong access of a block to an address, and after the instruction where it writes.
  void meet(BlockClock& block, int64_t index, uint64_t address, Access access);
  void released(BlockClock& block, int64_t index);
  // Whether what a lane does now is in no order with what was done then.
  bool unordered(const Warp& w, int lane, const Touch& then) const;
  int64_t block_of(const Touch& touch) const { return epochs_[touch.epoch - first_].block; }

 private:
  struct Epoch {
    int32_t block;
    uint32_t phase, segment;
  };
  struct Published {
    std::vector<uint32_t> known;
    int64_t last_block = -1;  // the last to publish, and how much it had learned then
    uint32_t last_learned = 0;
  };
  void next(BlockClock& block, int64_t index);
  uint32_t first_ = 1;
  int64_t blocks_ = 0;
  bool global_ = false;
  std::vector<Epoch> epochs_;
  std::unordered_map<uint64_t, Published> published_;
};

}  // namespace emulator
