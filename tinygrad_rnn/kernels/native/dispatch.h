// The instruction sets that this build contains and this processor supports.
#pragma once

#include "problem.h"

namespace tgr {

// The sets that can run here, fastest first; a null pointer ends the list.
const Isa* const* available();
const Isa* find_isa(const char* name);  // null if no available set has this name

template <class T> const Kernels<T>& kernels_of(const Isa& isa);
template <> inline const Kernels<float>& kernels_of<float>(const Isa& isa) { return *isa.f32; }
template <> inline const Kernels<double>& kernels_of<double>(const Isa& isa) { return *isa.f64; }

}  // namespace tgr
