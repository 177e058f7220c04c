#include "dispatch.h"

#include <cstring>

namespace tgr {

#if TGR_HAVE_X86
namespace avx512 { extern const Isa isa; }
namespace avx2 { extern const Isa isa; }
#endif
namespace portable { extern const Isa isa; }

const Isa* const* available() {
  static const Isa* found[4] = {};
  static const bool once = [] {
    int n = 0;
#if TGR_HAVE_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw")) {
      found[n++] = &avx512::isa;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found[n++] = &avx2::isa;
#endif
    found[n++] = &portable::isa;
    return true;
  }();
  (void)once;
  return found;
}

const Isa* find_isa(const char* name) {
  for (const Isa* const* isa = available(); *isa; ++isa) {
    if (std::strcmp((*isa)->name, name) == 0) return *isa;
  }
  return nullptr;
}

}  // namespace tgr
