#include "registers.h"

#include <algorithm>

namespace emulator {
namespace {

using Bits = std::vector<uint64_t>;
bool has(const Bits& bits, int k) { return bits[k / 64] >> (k % 64) & 1; }
void add(Bits& bits, int k) { bits[k / 64] |= uint64_t{1} << (k % 64); }

// A stretch of code that is entered at its begin and left at its end.
struct Stretch {
  int begin, end;
  std::vector<int> next;
  Bits read_first, written, in, out;  // in, out: in use where it begins and ends
};

template <class F>
void each_operand(const Instr& i, uint32_t which, F f) {
  for (; which; which &= which - 1) f(i.operand[__builtin_ctz(which)]);
}

std::vector<Stretch> stretches_of(const Kernel& kernel) {
  const std::vector<Instr>& code = kernel.code;
  const int size = static_cast<int>(code.size());
  const auto jumps = [](const Instr& i) { return i.kind == Kind::branch || i.kind == Kind::exit; };
  std::vector<Stretch> all;
  std::vector<int> of(size);
  for (int k = 0; k < size; ++k) {
    if (k == 0 || code[k].leader || jumps(code[k - 1])) all.push_back({k, k, {}, {}, {}, {}, {}});
    all.back().end = k + 1;
    of[k] = static_cast<int>(all.size()) - 1;
  }
  for (Stretch& s : all) {
    const Instr& last = code[s.end - 1];
    if (last.kind == Kind::branch) s.next.push_back(of[last.target]);
    if ((!jumps(last) || last.guard >= 0) && s.end < size) s.next.push_back(of[s.end]);
  }
  return all;
}

// Which registers are in use where stretches begin and end.
void find_uses(const Kernel& kernel, std::vector<Stretch>& all, const std::vector<uint32_t>& written,
               const std::vector<uint32_t>& read) {
  const size_t words = (kernel.n_data + 63) / 64;
  for (Stretch& s : all) {
    s.read_first.assign(words, 0);
    s.written = s.in = s.out = s.read_first;
    for (int k = s.begin; k < s.end; ++k) {
      const Instr& i = kernel.code[k];
      const auto reads = [&](int slot) {
        if (!has(s.written, slot)) add(s.read_first, slot);
      };
      each_operand(i, read[k], reads);
      if (i.guard >= 0) {
        each_operand(i, written[k], reads);  // some lanes keep what was there
      } else {
        each_operand(i, written[k], [&](int slot) { add(s.written, slot); });
      }
    }
  }
  for (bool changed = true; changed;) {
    changed = false;
    for (auto s = all.rbegin(); s != all.rend(); ++s) {
      for (size_t w = 0; w < words; ++w) {
        uint64_t out = 0;
        for (const int next : s->next) out |= all[next].in[w];
        const uint64_t in = s->read_first[w] | (out & ~s->written[w]);
        changed = changed || in != s->in[w];
        s->out[w] = out;
        s->in[w] = in;
      }
    }
  }
}

// Marks what instructions write in vain, beside what is needed: compilers load vectors for a part of them.
void find_unused(Kernel& kernel, const std::vector<Stretch>& all, const std::vector<uint32_t>& written,
                 const std::vector<uint32_t>& read) {
  for (const Stretch& s : all) {
    Bits in_use = s.out;
    for (int k = s.end - 1; k >= s.begin; --k) {
      Instr& i = kernel.code[k];
      for (uint32_t which = written[k]; which; which &= which - 1) {
        const int slot = i.operand[__builtin_ctz(which)];
        if (!has(in_use, slot)) i.unused |= which & -which;
        if (i.guard < 0) in_use[slot / 64] &= ~(uint64_t{1} << (slot % 64));
      }
      if (i.unused == written[k]) i.unused = 0;  // then it is not for its registers that it is there
      each_operand(i, read[k], [&](int slot) { add(in_use, slot); });
    }
  }
}

}  // namespace

void share_registers(Kernel& kernel, const std::vector<uint32_t>& written, const std::vector<uint32_t>& read) {
  std::vector<Stretch> all = stretches_of(kernel);
  find_uses(kernel, all, written, read);
  find_unused(kernel, all, written, read);
  struct Life {
    int slot, begin, end;
  };
  std::vector<Life> lives(kernel.n_data);
  for (int slot = 0; slot < kernel.n_data; ++slot) lives[slot] = {slot, INT32_MAX, -1};
  const auto used = [&](int slot, int when) {
    lives[slot].begin = std::min(lives[slot].begin, when);
    lives[slot].end = std::max(lives[slot].end, when);
  };
  for (const Stretch& s : all) {
    for (int slot = 0; slot < kernel.n_data; ++slot) {
      if (has(s.in, slot)) used(slot, 2 * s.begin);
      if (has(s.out, slot)) used(slot, 2 * s.end);
    }
    for (int k = s.begin; k < s.end; ++k) {
      each_operand(kernel.code[k], read[k], [&](int slot) { used(slot, 2 * k); });
      each_operand(kernel.code[k], written[k], [&](int slot) { used(slot, 2 * k + 1); });
    }
  }
  const auto whole = [&](int slot) { lives[slot] = {slot, 0, INT32_MAX}; };  // set when a warp starts
  for (const auto& [slot, value] : kernel.constants) whole(slot);
  for (const auto& [slot, which] : kernel.specials) whole(slot);
  std::sort(lives.begin(), lives.end(), [](const Life& a, const Life& b) { return a.begin < b.begin; });
  std::vector<int> now(kernel.n_data, 0);  // what a register is from now on
  int count = 0;
  std::vector<std::pair<int, int>> in_use;  // a heap: until when, which
  const auto later = [](const auto& a, const auto& b) { return a > b; };
  for (const Life& life : lives) {
    if (life.end < 0) continue;  // never named
    if (!in_use.empty() && in_use.front().first < life.begin) {
      std::pop_heap(in_use.begin(), in_use.end(), later);
      now[life.slot] = in_use.back().second;
      in_use.pop_back();
    } else {
      now[life.slot] = count++;
    }
    in_use.emplace_back(life.end, now[life.slot]);
    std::push_heap(in_use.begin(), in_use.end(), later);
  }
  for (size_t k = 0; k < kernel.code.size(); ++k) {
    Instr& i = kernel.code[k];
    for (uint32_t which = written[k] | read[k]; which; which &= which - 1) {
      int32_t& operand = i.operand[__builtin_ctz(which)];
      operand = now[operand];
    }
  }
  for (auto& [slot, value] : kernel.constants) slot = now[slot];
  for (auto& [slot, which] : kernel.specials) slot = now[slot];
  kernel.n_data = count;
}

}  // namespace emulator
