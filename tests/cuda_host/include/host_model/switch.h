// Fibers: what leaves one stack and goes on on another, and the stacks.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

// MAGNET_HOST_MODEL_UCONTEXT: without assembly, several times slower; for other processors.
#if !defined(__x86_64__)
#define MAGNET_HOST_MODEL_UCONTEXT
#endif

#ifdef MAGNET_HOST_MODEL_UCONTEXT
#include <ucontext.h>
#else
// Saves the registers that calls preserve on this stack and its address in *from; goes on where `to` was saved. Local
// to each translation unit.
asm(R"(
.text
.p2align 4
.type magnet_host_model_switch, @function
magnet_host_model_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size magnet_host_model_switch, .-magnet_host_model_switch
)");
extern "C" [[gnu::visibility("hidden")]] void magnet_host_model_switch(void** from, void* to);
#endif

namespace magnet::host_model {

constexpr size_t kStackBytes = 128 << 10;
constexpr size_t kPageBytes = 4096;

#ifndef MAGNET_HOST_MODEL_UCONTEXT

// A place to go on at.
using Context = void*;

inline void switch_context(Context& from, Context& to) { magnet_host_model_switch(&from, to); }

// Makes `context` start `entry`, which must not return, on the stack that ends at `top`.
inline void prepare(Context& context, char* top, void (*entry)()) {
  uint64_t* end = reinterpret_cast<uint64_t*>(reinterpret_cast<uintptr_t>(top) & ~uintptr_t(15));
  *--end = 0;  // no caller: the unwinder stops here, and the entry finds the stack aligned as after a call
  *--end = reinterpret_cast<uint64_t>(entry);
  for (int i = 0; i < 6; ++i) *--end = 0;
  context = end;
}

#else

using Context = ucontext_t;

inline void switch_context(Context& from, Context& to) { swapcontext(&from, &to); }

inline void prepare(Context& context, char* top, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = top - kStackBytes / 2;
  context.uc_stack.ss_size = kStackBytes / 2;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}

#endif

// Stacks are made when first needed and kept. Below each lies a page that faults.
class Stacks {
 public:
  // The end of stack `index`. Shifted a little from one to the next, so that they do not share the same cache sets.
  char* top(size_t index) {
    while (index >= stacks_.size()) stacks_.push_back(make());
    return stacks_[index] + kPageBytes + kStackBytes - (index % 16) * 192;
  }

 private:
  static char* make() {
    void* memory = mmap(nullptr, kPageBytes + kStackBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory, kPageBytes, PROT_NONE);
    return static_cast<char*>(memory);
  }

  std::vector<char*> stacks_;
};

}  // namespace magnet::host_model
