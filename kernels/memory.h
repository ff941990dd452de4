// Memory for numbers that a thread keeps for its next work: to get it from the system takes a
// quarter of the time of a refinement.

#ifndef FLOW_KERNELS_MEMORY_H_
#define FLOW_KERNELS_MEMORY_H_

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

namespace flow {

// Gives memory until it is destroyed. The thread keeps it then, up to `kMostKept` bytes.
class Memory {
 public:
  static constexpr size_t kMostKept = size_t{96} << 20;  // a refinement of full HD frames

  Memory() = default;
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  ~Memory() {
    if (used_ <= size_) return;
    size_ = 0, kept_.reset();
    if (used_ <= kMostKept) kept_.reset(new (std::nothrow) std::byte[used_]);
    if (kept_ != nullptr) size_ = used_;
  }

  // Returns values that are not set. Throws std::bad_alloc.
  template <class T>
  T* take(size_t count) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= alignof(std::max_align_t));
    constexpr size_t kLine = 64;  // of the cache
    const size_t size = (count * sizeof(T) + kLine - 1) / kLine * kLine;
    std::byte* const bytes =
        used_ + size <= size_ ? kept_.get() + used_ : more_.emplace_back(new std::byte[size]).get();
    used_ += size;
    T* const values = reinterpret_cast<T*>(bytes);
    std::uninitialized_default_construct_n(values, count);
    return values;
  }

 private:
  inline static thread_local std::unique_ptr<std::byte[]> kept_;
  inline static thread_local size_t size_ = 0;
  size_t used_ = 0;
  std::vector<std::unique_ptr<std::byte[]>> more_;  // what the kept memory has no room for
};

}  // namespace flow

#endif  // FLOW_KERNELS_MEMORY_H_
