// Limits and checks that build.cpp and complete.cpp share. A failed check throws std::invalid_argument.
#pragma once

#include <stdexcept>

#include "build.h"

namespace tgr {

constexpr ptrdiff_t kMostElements = ptrdiff_t{1} << 28;  // in a row: the byte offsets of 2^31 such rows still fit ptrdiff_t
constexpr ptrdiff_t kMostOffset = ptrdiff_t{1} << 40;

inline void expect(bool holds, const std::string& what) {
  if (!holds) throw std::invalid_argument("native loop: " + what);
}

inline bool in(int index, size_t count) { return index >= 0 && static_cast<size_t>(index) < count; }

// offset .. offset + size lies within `whole`.
inline bool fits(ptrdiff_t offset, ptrdiff_t size, ptrdiff_t whole) { return offset >= 0 && size >= 0 && offset <= whole && size <= whole - offset; }

inline ptrdiff_t elements(const ptrdiff_t* shape, int first, int last) {
  ptrdiff_t n = 1;
  for (int d = first; d < last; ++d) n *= shape[d];
  return n;
}

}  // namespace tgr
