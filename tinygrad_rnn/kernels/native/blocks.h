// A cache of memory for large arrays. The block of a freed array is kept for the next array of about the same size, since every training step
// allocates the same sizes, and new memory from the system costs one page fault for each page.
#pragma once

#include <cstddef>

namespace tgr {

constexpr size_t kLeastBlock = size_t{1} << 16, kMostKept = size_t{1} << 28;  // bytes: the smallest cached block, the sum of all

// At least `bytes` of memory, 64-byte aligned; throws std::bad_alloc. If no cached block fits, blocks that have not been used for a while are
// freed first: they have the sizes of an earlier batch.
void* take_block(size_t bytes);
void give_block(void* data) noexcept;
size_t kept_bytes();

}  // namespace tgr
