// The memory of one call: a workspace owns a few large blocks, of which take() returns consecutive pieces.
#include <cstdlib>
#include <new>

#include "problem.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace tgr {

namespace {

constexpr size_t kHuge = size_t{2} << 20;

// Memory that consists of huge pages, where the system has them. Packed weights are then spread evenly over the L2 cache, which with small
// pages depends on their physical addresses, and the TLB covers more memory.
void* allocate(size_t bytes) {
  void* data = std::aligned_alloc(kHuge, bytes);
#if defined(__linux__)
  if (data) madvise(data, bytes, MADV_HUGEPAGE);  // if this fails, the pages are small
#endif
  return data;
}

}  // namespace

Workspace::~Workspace() {
  for (Block& block : blocks_) std::free(block.data);
}

void* Workspace::take(size_t bytes) {
  constexpr size_t kAlign = 64;
  if (bytes > SIZE_MAX / 4) throw std::bad_alloc();
  bytes = (bytes + kAlign - 1) / kAlign * kAlign;
  while (block_ < kBlocks && blocks_[block_].data && used_ + bytes > blocks_[block_].size) {
    ++block_;
    used_ = 0;
  }
  if (block_ == kBlocks) throw std::bad_alloc();
  Block& block = blocks_[block_];
  if (!block.data) {
    const size_t least = kHuge << (block_ / 4), size = bytes > least ? (bytes + kHuge - 1) / kHuge * kHuge : least;
    block.data = allocate(size);
    if (!block.data) throw std::bad_alloc();
    block.size = size;
    used_ = 0;
  }
  void* at = static_cast<char*>(block.data) + used_;
  used_ += bytes;
  return at;
}

size_t Workspace::size() const {
  size_t sum = 0;
  for (const Block& block : blocks_) sum += block.size;
  return sum;
}

}  // namespace tgr
