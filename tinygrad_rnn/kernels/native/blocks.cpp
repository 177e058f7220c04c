#include "blocks.h"

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tgr {
namespace {

constexpr size_t kHead = 64, kHuge = size_t{1} << 21;  // bytes before the data, which hold the block's size
constexpr int kMost = 128;
constexpr unsigned long kMaxAge = 400;  // in returned blocks: some ten training steps

struct Kept {
  void* base;
  size_t size;
  unsigned long age;
};
Kept kept[kMost];
int count = 0;
size_t sum = 0;
unsigned long now = 0;
std::atomic_flag busy = ATOMIC_FLAG_INIT;  // if set, callers use malloc instead of waiting: a fork may leave it set for ever

size_t& size_of(void* base) { return *static_cast<size_t*>(base); }

void* remove(int k) {
  void* base = kept[k].base;
  sum -= kept[k].size;
  kept[k] = kept[--count];
  return base;
}

// Frees the blocks returned first, until at least this many bytes are freed, and all blocks returned before `age`.
void free_oldest(size_t bytes, unsigned long age = 0) {
  for (size_t freed = 0; count > 0;) {
    int oldest = 0;
    for (int k = 1; k < count; ++k) oldest = kept[k].age < kept[oldest].age ? k : oldest;
    if (freed >= bytes && kept[oldest].age >= age) return;
    freed += kept[oldest].size;
    std::free(remove(oldest));
  }
}

}  // namespace

void* take_block(size_t bytes) {
  if (bytes > SIZE_MAX / 4) throw std::bad_alloc();
  const size_t size = (bytes + kHead + 4095) / 4096 * 4096;
  if (!busy.test_and_set(std::memory_order_acquire)) {
    int best = -1;
    for (int k = 0; k < count; ++k) {
      if (kept[k].size >= size && kept[k].size - size <= size / 8 && (best < 0 || kept[k].size < kept[best].size)) best = k;
    }
    void* base = best < 0 ? nullptr : remove(best);
    if (!base && now > kMaxAge) free_oldest(0, now - kMaxAge);
    busy.clear(std::memory_order_release);
    if (base) return static_cast<char*>(base) + kHead;
  }
  void* base = std::aligned_alloc(size < 2 * kHuge ? 4096 : kHuge, size < 2 * kHuge ? size : (size + kHuge - 1) / kHuge * kHuge);
  if (!base) throw std::bad_alloc();
#if defined(__linux__)
  if (size >= 2 * kHuge) madvise(base, size, MADV_HUGEPAGE);  // fewer page faults; a refusal is harmless
#endif
  size_of(base) = size;
  return static_cast<char*>(base) + kHead;
}

void give_block(void* data) noexcept {
  void* base = static_cast<char*>(data) - kHead;
  const size_t size = size_of(base);
  if (size >= kMostKept || busy.test_and_set(std::memory_order_acquire)) return std::free(base);
  if (count == kMost) free_oldest(1);
  if (sum + size > kMostKept) free_oldest(sum + size - kMostKept);
  kept[count++] = {base, size, now++};
  sum += size;
  busy.clear(std::memory_order_release);
}

size_t kept_bytes() { return sum; }

}  // namespace tgr
