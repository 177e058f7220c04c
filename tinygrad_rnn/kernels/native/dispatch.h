// Which instruction sets this build and this processor have.
#pragma once

#include "problem.h"

namespace tgr {

// The sets that can run here, the fastest first; null after the last.
const Isa* const* available();
const Isa* find_isa(const char* name);  // null if there is none of that name here

template <class T> const Kernels<T>& kernels_of(const Isa& isa);
template <> inline const Kernels<float>& kernels_of<float>(const Isa& isa) { return *isa.f32; }
template <> inline const Kernels<double>& kernels_of<double>(const Isa& isa) { return *isa.f64; }

}  // namespace tgr
