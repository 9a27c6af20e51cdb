// Runs a launch: blocks and warps in a random order, lanes of a warp together until they diverge.
#include "machine.h"

#include <algorithm>
#include <numeric>

namespace emulator {

bool approximate = false;

namespace {

Statistics statistics;

class Machine {
 public:
  explicit Machine(Launch& launch) : launch_(launch), kernel_(*launch.kernel) {
    const int64_t blocks = int64_t{launch.grid[0]} * launch.grid[1] * launch.grid[2];
    waiting_.resize(blocks);
    std::iota(waiting_.begin(), waiting_.end(), 0);
    if (launch.options.shuffle) std::shuffle(waiting_.begin(), waiting_.end(), launch.random);
    std::reverse(waiting_.begin(), waiting_.end());
    for (const Instr& i : kernel_.code) {
      i.low = 1;
      i.high = 0;
    }
    launch.clocks.begin(blocks, launch.options.races > 1);
  }

  void run() {
    while (static_cast<int>(resident_.size()) < launch_.options.resident && !waiting_.empty()) start_block();
    while (!resident_.empty()) {
      if (runnable_.empty()) deadlock();
      const size_t at = launch_.random() % runnable_.size();
      Warp* warp = runnable_[at];
      runnable_[at] = runnable_.back();
      runnable_.pop_back();
      Block* block = warp->block;
      run_warp(*warp, 1 + static_cast<int>(launch_.random() % launch_.options.quantum));
      warp->queued = false;  // only now: what runs must not stand in the queue as well
      if (block->alive == 0) {
        end_block(block);
      } else {
        queue(*warp);
      }
      if (steps_ > launch_.options.most_steps) {
        const int pc = warp->groups.empty() ? 0 : warp->groups[0].pc;
        fail(*warp, kernel_.code[pc], -1,
             "endless: more than " + std::to_string(launch_.options.most_steps) + " instructions");
      }
    }
  }

 private:
  void queue(Warp& w) {
    if (w.queued ||
        std::none_of(w.groups.begin(), w.groups.end(), [](const Group& g) { return g.state == State::ready; }))
      return;
    w.queued = true;
    runnable_.push_back(&w);
  }

  void start_block() {
    std::unique_ptr<Block> block;
    if (!spare_.empty()) {
      block = std::move(spare_.back());
      spare_.pop_back();
    } else {
      block = std::make_unique<Block>();
    }
    block->launch = &launch_;
    block->index = waiting_.back();
    waiting_.pop_back();
    const int threads = launch_.threads, warps = threads / 32;
    block->alive = threads;
    block->arrived = 0;
    launch_.clocks.start(block->clock, block->index);
    block->shared.assign(launch_.shared_bytes, static_cast<uint8_t>(0xA5 + launch_.options.seed));
    if (launch_.options.races) block->shadow.cover(launch_.shared_bytes);
    block->warps.resize(warps);
    if (block->data.empty()) fill_registers(*block);
    for (int i = 0; i < warps; ++i) start_warp(*block, i);
    resident_.push_back(std::move(block));
  }

  // A pattern, and what no instruction changes. A block that takes the place of another finds what that has left.
  void fill_registers(Block& block) {
    const int64_t warps = static_cast<int64_t>(block.warps.size());
    block.data.assign(warps * kernel_.n_data * 32, 0xd3d3d3d3d3d3d3d3u + launch_.options.seed * 0x1111111111111111u);
    block.predicates.assign(warps * kernel_.n_predicates,
                            static_cast<uint32_t>(0x9e3779b9u * (launch_.options.seed + 1)));
    for (int64_t i = 0; i < warps; ++i) {
      uint64_t* data = block.data.data() + i * kernel_.n_data * 32;
      uint32_t* predicates = block.predicates.data() + i * kernel_.n_predicates;
      for (const auto& [slot, value] : kernel_.constants) std::fill_n(data + int64_t{slot} * 32, 32, value);
      for (const auto& [slot, value] : kernel_.predicate_constants) predicates[slot] = value ? ~0u : 0;
    }
  }

  void start_warp(Block& block, int index) {
    Warp& w = block.warps[index];
    w.launch = &launch_;
    w.block = &block;
    w.index = index;
    w.data = block.data.data() + int64_t{index} * kernel_.n_data * 32;
    w.predicates = block.predicates.data() + int64_t{index} * kernel_.n_predicates;
    w.alive = ~0u;
    w.order = LaneClocks();
    w.pauses = 0;
    w.queued = false;
    w.groups.assign(1, Group{w.alive, 0, State::ready, 0});
    const int64_t b = block.index;
    const int place[3] = {static_cast<int>(b % launch_.grid[0]),
                          static_cast<int>(b / launch_.grid[0] % launch_.grid[1]),
                          static_cast<int>(b / launch_.grid[0] / launch_.grid[1])};
    for (const auto& [slot, which] : kernel_.specials) {
      each(~0u, [&](int l) {
        const int thread = 32 * index + l, axis = which % 3;
        const int at[3] = {thread % launch_.block[0], thread / launch_.block[0] % launch_.block[1],
                           thread / launch_.block[0] / launch_.block[1]};
        const int value = which < 3     ? at[axis]
                          : which < 6   ? launch_.block[axis]
                          : which < 9   ? place[axis]
                          : which < 12  ? launch_.grid[axis]
                          : which == 12 ? l
                                        : index;
        set<uint32_t>(w, slot, l, static_cast<uint32_t>(value));
      });
    }
    queue(w);
  }

  void end_block(Block* block) {
    const auto at = std::find_if(resident_.begin(), resident_.end(), [&](const auto& b) { return b.get() == block; });
    spare_.push_back(std::move(*at));
    resident_.erase(at);
    if (!waiting_.empty()) start_block();
  }

  // The group to run: merges those that have met; usually the one that is furthest behind.
  int pick(Warp& w) {
    auto& groups = w.groups;
    if (groups.size() == 1) return groups[0].state == State::ready ? 0 : -1;
    for (size_t i = 0; i < groups.size(); ++i) {
      for (size_t j = groups.size() - 1; j > i; --j) {
        if (groups[i].state == State::ready && groups[j].state == State::ready && groups[i].pc == groups[j].pc) {
          groups[i].lanes |= groups[j].lanes;
          groups.erase(groups.begin() + j);
        }
      }
    }
    int best = -1, ready = 0;
    for (size_t i = 0; i < groups.size(); ++i) {
      if (groups[i].state != State::ready) continue;
      ++ready;
      if (best < 0 || groups[i].pc < groups[best].pc) best = static_cast<int>(i);
    }
    if (ready > 1 && static_cast<int>(launch_.random() & 255) < launch_.options.divergence) {
      int skip = static_cast<int>(launch_.random() % ready);
      for (size_t i = 0; i < groups.size(); ++i) {
        if (groups[i].state == State::ready && skip-- == 0) return static_cast<int>(i);
      }
    }
    return best;
  }

  void run_warp(Warp& w, int quantum) {
    while (quantum > 0) {
      const int g = pick(w);
      if (g < 0) return;
      run_group(w, g, quantum);
      if (w.alive == 0) return;
    }
  }

  // Until a place where groups may meet, or where this one waits or ends.
  void run_group(Warp& w, int g, int& quantum) {
    uint32_t lanes = w.groups[g].lanes;
    int pc = w.groups[g].pc;
    const Instr* const code = kernel_.code.data();
    const int size = static_cast<int>(kernel_.code.size());
    for (bool first = true;; first = false) {
      if (pc >= size) fail(w, code[size - 1], -1, "runs past the end");
      const Instr& i = code[pc];
      if (i.leader && !first) {
        --quantum;
        if (w.groups.size() > 1 || quantum <= 0) return save(w, g, lanes, pc);
      }
      uint32_t active = lanes;
      if (i.guard >= 0) active &= i.negated ? ~w.predicates[i.guard] : w.predicates[i.guard];
      ++steps_;
      ++statistics.warp_instructions;
      statistics.lane_instructions += __builtin_popcount(active);
      if (i.kind == Kind::plain) {
        if (active) i.run(w, i, active);
        ++pc;
        continue;
      }
      if (active == 0) {
        ++pc;
        continue;
      }
      if (i.kind == Kind::pause) {
        i.run(w, i, active);
        ++statistics.pauses;
        if (++w.pauses > launch_.options.most_pauses) {
          fail(w, i, __builtin_ctz(active),
               "endless: this warp has asked or waited " + std::to_string(w.pauses) + " times");
        }
        quantum = 0;
        return save(w, g, lanes, pc + 1);
      }
      if (active != lanes) {  // the others go on
        ++statistics.divergent_branches;
        w.groups.push_back({lanes & ~active, pc + 1, State::ready, 0});
        lanes = active;
      }
      switch (i.kind) {
        case Kind::branch:
          pc = i.target;
          if (w.groups.size() > 1) return save(w, g, lanes, pc);
          if (--quantum <= 0) return save(w, g, lanes, pc);
          continue;
        case Kind::exit:
          return leave(w, g, lanes);
        case Kind::barrier:
          save(w, g, lanes, pc);
          return arrive(w, g, i);
        case Kind::collective:
          save(w, g, lanes, pc);
          if (!collective(w, g, i)) return;
          lanes = w.groups[g].lanes;
          ++pc;
          continue;
        default:
          fail(w, i, -1, "unknown kind");
      }
    }
  }

  void save(Warp& w, int g, uint32_t lanes, int pc) {
    w.groups[g].lanes = lanes;
    w.groups[g].pc = pc;
  }

  void leave(Warp& w, int g, uint32_t lanes) {
    const Instr& i = kernel_.code[w.groups[g].pc];
    if (w.block->arrived > 0) {
      fail(w, i, __builtin_ctz(lanes),
           "barrier: this thread ended while others of its block wait at " + waiting(*w.block));
    }
    w.alive &= ~lanes;
    w.groups.erase(w.groups.begin() + g);
    w.block->alive -= __builtin_popcount(lanes);
    for (const Group& other : w.groups) {
      if (other.state == State::collective && (other.mask & lanes)) {
        fail(w, i, __builtin_ctz(other.mask & lanes),
             "this lane ended while lanes " + hex(other.lanes) + " wait for it at " + place(other));
      }
    }
  }

  void arrive(Warp& w, int g, const Instr& i) {
    Block& block = *w.block;
    if (block.alive != launch_.threads) {
      fail(w, i, __builtin_ctz(w.groups[g].lanes),
           "barrier: " + std::to_string(launch_.threads - block.alive) + " threads of the block have ended");
    }
    const bool joins = i.joins != Joins::nothing;
    if (i.count != (joins ? 3 : 1) || get<uint32_t>(w, i.operand[joins ? 1 : 0], 0) != 0) {
      fail(w, i, -1, "not modelled: a barrier other than 0, or of some threads");
    }
    w.groups[g].state = State::barrier;
    block.arrived += __builtin_popcount(w.groups[g].lanes);
    if (block.arrived == block.alive) pass_barrier(block);
  }

  void pass_barrier(Block& block) {
    ++statistics.barriers;
    launch_.clocks.pass_barrier(block.clock, block.index);
    block.arrived = 0;
    int set = 0;
    const Instr* first = nullptr;
    for (Warp& w : block.warps) {
      const Instr& i = kernel_.code[w.groups[0].pc];
      if (!first) first = &i;
      if (i.joins != first->joins) fail(w, i, -1, "barrier: others of the block wait at " + place(*first));
      for (const Group& group : w.groups) {
        if (group.pc != w.groups[0].pc) fail(w, i, -1, "barrier: other lanes of this warp wait at " + place(group));
        if (i.joins != Joins::nothing) set += __builtin_popcount(w.predicates[i.operand[2]] & group.lanes);
      }
    }
    for (Warp& w : block.warps) {
      const Instr& i = kernel_.code[w.groups[0].pc];
      if (i.joins == Joins::any || i.joins == Joins::all) {
        put(w, i.operand[0], ~0u, set == launch_.threads || (set > 0 && i.joins == Joins::any) ? ~0u : 0);
      } else if (i.joins == Joins::count) {
        each(~0u, [&](int l) { emulator::set<uint32_t>(w, i.operand[0], l, static_cast<uint32_t>(set)); });
      }
      for (Group& group : w.groups) {
        group.state = State::ready;
        ++group.pc;
      }
      queue(w);
    }
  }

  // Whether the group has done its collective; else it waits.
  bool collective(Warp& w, int g, const Instr& i) {
    const uint32_t lanes = w.groups[g].lanes;
    uint32_t mask = ~0u;
    if (i.mask_operand > 0) {
      const int slot = i.operand[i.count - i.mask_operand], some = __builtin_ctz(lanes);
      mask = get<uint32_t>(w, slot, some);
      uint32_t others = 0;
      each(lanes, [&](int l) {
        const uint32_t own = get<uint32_t>(w, slot, l);
        if (!(own >> l & 1)) fail(w, i, l, "the member mask " + hex(own) + " lacks the lane itself");
        if (own != mask) others |= 1u << l;
      });
      if (others) {  // each mask is an operation of its own
        w.groups[g].lanes &= ~others;
        w.groups.push_back({others, w.groups[g].pc, State::ready, 0});
      }
    }
    w.groups[g].mask = mask;
    if (mask & ~w.alive)
      fail(w, i, __builtin_ctz(lanes), "the member mask " + hex(mask) + " names lanes that have ended");
    if ((mask & ~w.groups[g].lanes) == 0) {
      ++statistics.collectives;
      const Part part{&i, w.groups[g].lanes};
      i.together(w, &part, 1, part.lanes);
      if (w.groups.size() > 1) {
        ++w.groups[g].pc;
        return false;
      }
      return true;
    }
    w.groups[g].state = State::collective;
    try_collective(w, g);
    return false;
  }

  // Does the collective that a group waits in if all its lanes have come.
  void try_collective(Warp& w, int g) {
    const Group own = w.groups[g];
    const Instr& i = kernel_.code[own.pc];
    std::vector<Part> parts;
    uint32_t lanes = 0;
    for (const Group& group : w.groups) {
      const Instr& other = kernel_.code[group.pc];
      if (group.state != State::collective || group.mask != own.mask || other.form != i.form) continue;
      parts.push_back({&other, group.lanes});
      lanes |= group.lanes;
    }
    if ((own.mask & ~lanes) != 0) return;
    ++statistics.collectives;
    ++statistics.split_collectives;
    i.together(w, parts.data(), static_cast<int>(parts.size()), lanes);
    for (Group& group : w.groups) {
      if (group.state != State::collective || group.mask != own.mask || kernel_.code[group.pc].form != i.form) continue;
      group.state = State::ready;
      ++group.pc;
    }
    queue(w);
  }

  [[noreturn]] void deadlock() {
    std::string text = "deadlock: all wait for others: ";
    int shown = 0;
    for (const auto& block : resident_) {
      for (const Warp& w : block->warps) {
        for (const Group& g : w.groups) {
          if (++shown > 8) continue;
          text += "block " + std::to_string(block->index) + ", warp " + std::to_string(w.index) + ", lanes " +
                  hex(g.lanes) + (g.state == State::collective ? ", for lanes " + hex(g.mask) : std::string()) +
                  ", at " + place(g) + "; ";
        }
      }
    }
    throw Fault(text + "kernel " + kernel_.name + ", seed " + std::to_string(launch_.options.seed));
  }

  std::string place(const Instr& i) const { return source_of(kernel_, i) + ": " + kernel_.forms[i.form]; }
  std::string place(const Group& g) const { return place(kernel_.code[g.pc]); }
  // Where threads of a block wait at a barrier.
  std::string waiting(const Block& block) const {
    for (const Warp& w : block.warps) {
      for (const Group& g : w.groups) {
        if (g.state == State::barrier) return place(g);
      }
    }
    return "none";
  }

  Launch& launch_;
  const Kernel& kernel_;
  std::vector<int64_t> waiting_;
  std::vector<std::unique_ptr<Block>> resident_, spare_;
  std::vector<Warp*> runnable_;
  int64_t steps_ = 0;
};

}  // namespace

const Statistics& counted() { return statistics; }

void run(Launch& launch) {
  const Kernel& kernel = *launch.kernel;
  const int threads = launch.threads;
  if (threads % 32 != 0 || threads < 32 || threads > 1024) {
    throw Fault(kernel.name + ": blocks of " + std::to_string(threads) +
                " threads; expected whole warps, 1024 threads at most");
  }
  if ((kernel.exact_threads && threads != kernel.exact_threads) ||
      (kernel.max_threads && threads > kernel.max_threads)) {
    throw Fault(kernel.name + ": blocks of " + std::to_string(threads) + " threads, against its .reqntid or .maxntid");
  }
  const int64_t shared = launch.shared_bytes - kernel.gap_bytes;
  if (shared > kMostShared) {
    throw Fault(kernel.name + ": " + std::to_string(shared) + " bytes of shared memory; expected " +
                std::to_string(kMostShared) + " at most");
  }
  approximate = launch.options.approximate != 0;
  launch.random.seed(launch.options.seed);
  ++statistics.launches;
  Machine(launch).run();
}

}  // namespace emulator
