// Pointers that check every access: bounds, alignment, and what other threads of the block do to the same element.
#pragma once

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "host_model/engine.h"

#define MAGNET_HOST_MODEL_INLINE [[gnu::always_inline]] inline

namespace magnet::host_model {

enum class Space { global, shared };

// What lies around a pointer.
struct GlobalRange {
  const char* begin = nullptr;
  const char* end = nullptr;
};
struct SharedRange {
  const Array* array = nullptr;
};

// An index and the line it stands in.
struct Index {
  int64_t value;
  Location at;
  template <class I>
    requires(std::integral<I> || (std::is_enum_v<I> && std::convertible_to<I, int64_t>))
  MAGNET_HOST_MODEL_INLINE Index(I i, const Location& where = Location::current())
      : value(static_cast<int64_t>(i)), at(where) {}
};

enum class Access { read, write, atomic };

// --- checks

[[noreturn, gnu::noinline, gnu::cold]] inline void fail_range(const char* what, const void* address, size_t bytes,
                                                              size_t item, const char* name, const char* begin,
                                                              const char* end, const Location& at) {
  if (!begin) fail(std::string(what) + " through a null pointer", at);
  const auto distance = static_cast<const char*>(address) - begin;
  const auto items = (end - begin) / static_cast<std::ptrdiff_t>(item);
  if (distance >= 0 && distance + static_cast<std::ptrdiff_t>(bytes) <= end - begin) {
    fail(std::string("misaligned ") + what + " of " + std::to_string(bytes) + " bytes at element " +
             std::to_string(distance / static_cast<std::ptrdiff_t>(item)) + " of " + name,
         at);
  }
  fail(std::string("out of bounds: ") + what + " of " + std::to_string(bytes / item) + " element(s) at index " +
           std::to_string(distance / static_cast<std::ptrdiff_t>(item)) + " of " + name + " with " +
           std::to_string(items) + " element(s)",
       at);
}

[[noreturn, gnu::noinline, gnu::cold]] inline void fail_race(const char* what, const char* name, int64_t element,
                                                             const char* before, Stamp other, const Location& at) {
  const Thread& thread = current.block->threads[thread_of(other)];
  const bool same_warp = thread.index / kWarp == current.thread->index / kWarp;
  fail(std::string("race: ") + what + " of element " + std::to_string(element) + " of " + name + ", which " +
           describe(thread) + " " + before + " with no " + (same_warp ? "__syncwarp" : "__syncthreads") + " between" +
           (same_warp ? " (shuffles and votes order no memory)" : ""),
       at);
}

MAGNET_HOST_MODEL_INLINE const char* verb(Access access) {
  return access == Access::read ? "read" : access == Access::write ? "write" : "atomic";
}

template <Access access>
MAGNET_HOST_MODEL_INLINE void note_shared(const Array& array, int64_t element, const Location& at) {
  Cell& cell = array.cells[element];
  if (access != Access::write && cell.write < current.first) [[unlikely]] {
    fail(std::string(verb(access)) + " of element " + std::to_string(element) + " of shared array " + array.name +
             ", which was never written in this block",
         at);
  }
  const Stamp before = cell.write;
  if (concurrent(before) && !(access == Access::atomic && (before & kAtomic))) [[unlikely]] {
    fail_race(verb(access), array.name, element, before & kAtomic ? "updated" : "wrote", before, at);
  }
  if (access == Access::read) {
    const Stamp difference = cell.read ^ current.stamp;
    if (difference) {
      if (difference >> kPhaseShift == 0 && difference >> kThreadShift) {
        const int last = thread_of(cell.read) / kWarp, now = current.thread->index / kWarp;
        const bool stale = (cell.other_read ^ current.stamp) >> kPhaseShift;
        if (stale || last != now || thread_of(cell.other_read) / kWarp == now) cell.other_read = cell.read;
      }
      cell.read = current.stamp;
    }
  } else {
    for (const Stamp read : {cell.read, cell.other_read}) {
      if (concurrent(read)) [[unlikely]] {
        fail_race(verb(access), array.name, element, "read", read, at);
      }
    }
    cell.write = current.stamp | (access == Access::atomic ? kAtomic : 0);
  }
}

// Memory of the device is too much to remember for each element: of those that share a place in the table, the last.
template <Access access>
MAGNET_HOST_MODEL_INLINE void note_global(const char* begin, const char* address, size_t item, const Location& at) {
  const uintptr_t key = reinterpret_cast<uintptr_t>(address);
  const uintptr_t place = key / item;  // eight neighbours lie side by side, others anywhere
  GlobalCell& cell = machine.global[((place / 8 * 0x9e3779b97f4a7c15u) >> 50) / 8 * 8 + place % 8];
  static_assert(kGlobalCells == 1 << 14);
  if (access == Access::write) ++current.progress;
  if (cell.address != key) {
    cell = {key, 0, 0};
  } else {
    const Stamp before = cell.write;
    const auto element = [&] { return (address - begin) / static_cast<std::ptrdiff_t>(item); };
    if (concurrent(before) && !(access == Access::atomic && (before & kAtomic))) [[unlikely]] {
      fail_race(verb(access), "global memory", element(), before & kAtomic ? "updated" : "wrote", before, at);
    }
    if (access != Access::read && concurrent(cell.read)) [[unlikely]] {
      fail_race(verb(access), "global memory", element(), "read", cell.read, at);
    }
  }
  if (access == Access::read) {
    cell.read = current.stamp;
  } else {
    cell.write = current.stamp | (access == Access::atomic ? kAtomic : 0);
  }
}

// Checks an access to `count` consecutive elements at `address`.
template <Access access, int count, class T>
MAGNET_HOST_MODEL_INLINE void check(const T* address, const GlobalRange& range, const Location& at,
                                    bool between_blocks = false) {
  constexpr size_t bytes = sizeof(T) * count;
  constexpr size_t alignment = count == 1 ? alignof(T) : bytes;
  const char* p = reinterpret_cast<const char*>(address);
  if (p < range.begin || p + bytes > range.end || !range.begin || reinterpret_cast<uintptr_t>(p) % alignment)
      [[unlikely]] {
    fail_range(verb(access), p, bytes, sizeof(T), "global memory", range.begin, range.end, at);
  }
  if (!current.thread) [[unlikely]] {
    fail("memory of the device accessed by the host", at);
  }
  current.at = at;
  if (between_blocks) return;
  for (int i = 0; i < count; ++i) note_global<access>(range.begin, p + i * sizeof(T), sizeof(T), at);
}
template <Access access, int count, class T>
MAGNET_HOST_MODEL_INLINE void check(const T* address, const SharedRange& range, const Location& at) {
  constexpr size_t bytes = sizeof(T) * count;
  constexpr size_t alignment = count == 1 ? alignof(T) : bytes;
  const char* p = reinterpret_cast<const char*>(address);
  if (!range.array) [[unlikely]] {
    fail_range(verb(access), p, bytes, sizeof(T), "", nullptr, nullptr, at);
  }
  const Array& array = *range.array;
  if (p < array.begin || p + bytes > array.end || reinterpret_cast<uintptr_t>(p) % alignment) [[unlikely]] {
    fail_range(verb(access), p, bytes, sizeof(T), array.name, array.begin, array.end, at);
  }
  current.at = at;
  const int64_t first = address - reinterpret_cast<const T*>(array.begin);
  for (int i = 0; i < count; ++i) note_shared<access>(array, first + i, at);
}

// --- pointers

template <class T, Space space>
class Pointer;

// What p[i] is: an element that can be read, written, or have its address taken, once, at once. Not copied, so that
// `auto x = p[i]` does not compile where x would read again later: name the type.
template <class T, Space space>
class Element {
 public:
  MAGNET_HOST_MODEL_INLINE Element(const Pointer<T, space>& p, const Location& at) : pointer_(p), at_(at) {}

  // Only so that `c ? p[i] : 0` does not compile where 0 has another type than T: it would become int, unlike on the
  // device.
  template <class U>
    requires(std::is_arithmetic_v<U> && !std::same_as<U, T>)
  Element(const U&) = delete;

  MAGNET_HOST_MODEL_INLINE operator T() const&& { return pointer_.read(at_); }
  MAGNET_HOST_MODEL_INLINE T operator=(const T& x) && {
    pointer_.write(x, at_);
    return x;
  }
  MAGNET_HOST_MODEL_INLINE T operator=(Element&& x) && { return std::move(*this) = static_cast<T>(std::move(x)); }
  template <class U, Space other>
  MAGNET_HOST_MODEL_INLINE T operator=(Element<U, other>&& x) && {
    return std::move(*this) = static_cast<T>(static_cast<U>(std::move(x)));
  }
  MAGNET_HOST_MODEL_INLINE Pointer<T, space> operator&() const { return pointer_; }

#define MAGNET_HOST_MODEL_ASSIGN(sign)                                          \
  template <class U>                                                            \
  MAGNET_HOST_MODEL_INLINE T operator sign## = (const U& x) && {                \
    const T result = static_cast<T>(pointer_.read(at_) sign static_cast<U>(x)); \
    pointer_.write(result, at_);                                                \
    return result;                                                              \
  }                                                                             \
  template <class U, Space other>                                               \
  MAGNET_HOST_MODEL_INLINE T operator sign## = (Element<U, other> && x) && {    \
    return std::move(*this) sign## = static_cast<U>(std::move(x));              \
  }
  MAGNET_HOST_MODEL_ASSIGN(+)
  MAGNET_HOST_MODEL_ASSIGN(-)
  MAGNET_HOST_MODEL_ASSIGN(*)
  MAGNET_HOST_MODEL_ASSIGN(/)
  MAGNET_HOST_MODEL_ASSIGN(|)
  MAGNET_HOST_MODEL_ASSIGN(&)
  MAGNET_HOST_MODEL_ASSIGN(^)
  MAGNET_HOST_MODEL_ASSIGN(<<)
  MAGNET_HOST_MODEL_ASSIGN(>>)
#undef MAGNET_HOST_MODEL_ASSIGN
  MAGNET_HOST_MODEL_INLINE T operator++() && { return std::move(*this) += 1; }
  MAGNET_HOST_MODEL_INLINE T operator--() && { return std::move(*this) -= 1; }
  MAGNET_HOST_MODEL_INLINE T operator++(int) && {
    const T before = pointer_.read(at_);
    pointer_.write(static_cast<T>(before + 1), at_);
    return before;
  }
  MAGNET_HOST_MODEL_INLINE T operator--(int) && {
    const T before = pointer_.read(at_);
    pointer_.write(static_cast<T>(before - 1), at_);
    return before;
  }

 private:
  const Pointer<T, space> pointer_;
  const Location at_;
};

template <Space space>
using RangeOf = std::conditional_t<space == Space::global, GlobalRange, SharedRange>;

// Pointers to const give values, so that functions that take any type see one.
template <class T, Space space>
class Pointer<const T, space> {
 public:
  using Range = RangeOf<space>;
  Pointer() = default;
  MAGNET_HOST_MODEL_INLINE Pointer(std::nullptr_t) {}
  MAGNET_HOST_MODEL_INLINE Pointer(const T* address, const Range& range)
      : address_(const_cast<T*>(address)), range_(range) {}

  MAGNET_HOST_MODEL_INLINE T operator[](const Index& i) const { return (*this + i.value).read(i.at); }
  MAGNET_HOST_MODEL_INLINE T operator*() const { return read(current.at); }

  MAGNET_HOST_MODEL_INLINE T read(const Location& at) const {
    check<Access::read, 1>(address_, range_, at);
    return *address_;
  }

  MAGNET_HOST_MODEL_INLINE Pointer operator+(int64_t i) const { return Pointer(address_ + i, range_); }
  MAGNET_HOST_MODEL_INLINE Pointer operator-(int64_t i) const { return Pointer(address_ - i, range_); }
  MAGNET_HOST_MODEL_INLINE int64_t operator-(const Pointer& other) const { return address_ - other.address_; }
  MAGNET_HOST_MODEL_INLINE Pointer& operator+=(int64_t i) { return *this = *this + i; }
  MAGNET_HOST_MODEL_INLINE Pointer& operator-=(int64_t i) { return *this = *this - i; }
  MAGNET_HOST_MODEL_INLINE Pointer& operator++() { return *this += 1; }
  MAGNET_HOST_MODEL_INLINE Pointer& operator--() { return *this -= 1; }
  MAGNET_HOST_MODEL_INLINE Pointer operator++(int) {
    const Pointer before = *this;
    ++*this;
    return before;
  }
  MAGNET_HOST_MODEL_INLINE auto operator<=>(const Pointer& other) const { return address_ <=> other.address_; }
  MAGNET_HOST_MODEL_INLINE bool operator==(const Pointer& other) const { return address_ == other.address_; }
  MAGNET_HOST_MODEL_INLINE bool operator==(std::nullptr_t) const { return address_ == nullptr; }
  MAGNET_HOST_MODEL_INLINE explicit operator bool() const { return address_ != nullptr; }

  // For the functions of device.cuh, which check.
  MAGNET_HOST_MODEL_INLINE T* address() const { return address_; }
  MAGNET_HOST_MODEL_INLINE const Range& range() const { return range_; }

 protected:
  T* address_ = nullptr;
  [[no_unique_address]] Range range_{};
};

// Derived, so that a function template of Pointer<const T> takes it.
template <class T, Space space>
class Pointer : public Pointer<const T, space> {
  using Base = Pointer<const T, space>;
  using Base::address_;
  using Base::range_;

 public:
  using typename Base::Range;
  Pointer() = default;
  MAGNET_HOST_MODEL_INLINE Pointer(std::nullptr_t) {}
  MAGNET_HOST_MODEL_INLINE Pointer(T* address, const Range& range) : Base(address, range) {}

  MAGNET_HOST_MODEL_INLINE Element<T, space> operator[](const Index& i) const {
    return Element<T, space>(*this + i.value, i.at);
  }
  MAGNET_HOST_MODEL_INLINE Element<T, space> operator*() const { return Element<T, space>(*this, current.at); }

  MAGNET_HOST_MODEL_INLINE void write(const T& x, const Location& at) const {
    check<Access::write, 1>(address_, range_, at);
    *address_ = x;
  }

  using Base::operator-;
  MAGNET_HOST_MODEL_INLINE Pointer operator+(int64_t i) const { return Pointer(address_ + i, range_); }
  MAGNET_HOST_MODEL_INLINE Pointer operator-(int64_t i) const { return Pointer(address_ - i, range_); }
  MAGNET_HOST_MODEL_INLINE Pointer& operator+=(int64_t i) { return *this = *this + i; }
  MAGNET_HOST_MODEL_INLINE Pointer& operator-=(int64_t i) { return *this = *this - i; }
  MAGNET_HOST_MODEL_INLINE Pointer& operator++() { return *this += 1; }
  MAGNET_HOST_MODEL_INLINE Pointer& operator--() { return *this -= 1; }
  MAGNET_HOST_MODEL_INLINE Pointer operator++(int) {
    const Pointer before = *this;
    ++*this;
    return before;
  }
};

// --- shared arrays

// The array of this block for a declaration: made by the first thread that comes there. It starts at a multiple of the
// alignment that MAGNET_SHARED promises and no more.
template <class T, int64_t count>
Pointer<T, Space::shared> shared_array(const void* site, const char* name, const Location& at = Location::current()) {
  static_assert(count > 0 && std::is_trivially_copyable_v<T>);
  if (!current.thread) fail("shared array outside of a kernel", at);
  Block& block = *current.block;
  for (const Array& array : block.arrays) {
    if (array.site == site) return {reinterpret_cast<T*>(array.begin), {&array}};
  }
  constexpr size_t size = sizeof(T) * count, alignment = alignof(T) < 16 ? 16 : alignof(T);
  block.bytes = (block.bytes + alignment - 1) / alignment * alignment + size;
  if (block.bytes > kSharedBytes) {
    fail(std::string("shared array ") + name + " makes " + std::to_string(block.bytes) +
             " bytes of shared memory; a block has 49152",
         at);
  }
  size_t offset = (block.used + alignment - 1) / alignment * alignment;
  if ((reinterpret_cast<uintptr_t>(block.memory.get()) + offset) % (2 * alignment) == 0) offset += alignment;
  if (block.arrays.size() == block.arrays.capacity() || offset + size > 2 * kSharedBytes) {
    fail("too many shared arrays", at);
  }
  char* memory = block.memory.get() + offset;
  std::memset(memory, 0xcd, size);
  block.used = offset + size;
  block.arrays.push_back({site, name, memory, memory + size, block.cells + block.used_cells});
  block.used_cells += count;
  return {reinterpret_cast<T*>(memory), {&block.arrays.back()}};
}

}  // namespace magnet::host_model
