// Memory of large arrays, kept when an array goes for the next one of about that size: a training step asks for the same sizes again and
// again, and memory fresh from the system costs a page fault for every page.
#pragma once

#include <cstddef>

namespace tgr {

constexpr size_t kLeastBlock = size_t{1} << 16, kMostKept = size_t{1} << 29;  // bytes: of a block that is kept, of all of them

// At least `bytes` of memory, 64-byte aligned; throws std::bad_alloc. What is kept and does not fit is freed as far as new memory is taken,
// so that a process holds about as much as it had in use at one time.
void* take_block(size_t bytes);
void give_block(void* data) noexcept;
size_t kept_bytes();

}  // namespace tgr
