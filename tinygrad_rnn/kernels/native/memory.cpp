// Memory of one call. Blocks are kept in a workspace's hands and given out piece by piece.
#include <cstdlib>
#include <new>

#include "problem.h"

namespace tgr {

Workspace::~Workspace() {
  for (Block& block : blocks_) std::free(block.data);
}

void* Workspace::take(size_t bytes) {
  constexpr size_t kAlign = 64, kLeast = size_t{1} << 18;
  if (bytes > SIZE_MAX / 4) throw std::bad_alloc();
  bytes = (bytes + kAlign - 1) / kAlign * kAlign;
  while (block_ < kBlocks && blocks_[block_].data && used_ + bytes > blocks_[block_].size) {
    ++block_;
    used_ = 0;
  }
  if (block_ == kBlocks) throw std::bad_alloc();
  Block& block = blocks_[block_];
  if (!block.data) {
    const size_t least = kLeast << (block_ / 4), size = bytes > least ? bytes : least;
    block.data = std::aligned_alloc(kAlign, size);
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
