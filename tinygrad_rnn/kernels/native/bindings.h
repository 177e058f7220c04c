// Types and checks that the bindings share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <optional>
#include <stdexcept>
#include <string>

#include "run.h"

namespace nb = nanobind;

namespace tgr {

template <class T> using In = nb::ndarray<const T, nb::device::cpu>;
template <class T> using Out = nb::ndarray<T, nb::device::cpu>;
using Lengths = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

inline void expect(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(std::string("native kernels: ") + what);
}

template <class T> bool aligned(T* data) { return reinterpret_cast<uintptr_t>(data) % alignof(T) == 0; }

inline const Isa& isa_named(const std::string& name) {
  const Isa* isa = find_isa(name.c_str());
  if (!isa) throw std::invalid_argument("native kernels: this machine or build does not have the instruction set " + name);
  return *isa;
}

void bind_guards(nb::module_& m);
void bind_loop(nb::module_& m);
void bind_training(nb::module_& m);
void bind_matmul(nb::module_& m);

}  // namespace tgr
