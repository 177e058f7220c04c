// Python bindings of matmul.h.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include "bindings.h"

namespace tgr {
namespace {

// out = bias + a b, or with `accumulate` out += a b: matrices, or batches of them along a first axis.
template <class T>
void matmul(const std::string& isa_name, const In<T>& a, const In<T>& b, const std::optional<In<T>>& bias, const Out<T>& out, bool accumulate) {
  const Isa& isa = isa_named(isa_name);
  const size_t rank = out.ndim();
  expect((rank == 2 || rank == 3) && a.ndim() == rank && b.ndim() == rank, "a product's array has the wrong rank");
  const size_t row = rank - 2, column = rank - 1;
  Product<T> p;
  p.M = out.shape(row), p.N = out.shape(column), p.K = a.shape(column);
  expect(static_cast<ptrdiff_t>(a.shape(row)) == p.M && static_cast<ptrdiff_t>(b.shape(row)) == p.K && static_cast<ptrdiff_t>(b.shape(column)) == p.N,
         "a product's arrays have shapes that do not match");
  if (rank == 3) {
    p.batch = out.shape(0);
    expect(a.shape(0) == out.shape(0) && b.shape(0) == out.shape(0), "a product's batches differ");
    p.a_batch = a.stride(0), p.b_batch = b.stride(0), p.c_batch = out.stride(0);
  }
  expect(p.batch > 0 && p.M > 0 && p.N > 0 && p.K > 0, "a product's array is empty");
  const auto stride = [](const auto& array, size_t axis) { return array.shape(axis) == 1 ? 1 : static_cast<ptrdiff_t>(array.stride(axis)); };
  p.a = a.data(), p.a_row = stride(a, row), p.a_step = stride(a, column);
  p.b = b.data(), p.b_row = stride(b, row), p.b_column = stride(b, column);
  p.c = out.data(), p.c_row = static_cast<ptrdiff_t>(out.stride(row));
  p.accumulate = accumulate;
  expect((p.a_row == 1 || p.a_step == 1) && (p.b_row == 1 || p.b_column == 1) && stride(out, column) == 1, "a product's array is not contiguous");
  expect(aligned(p.a) && aligned(p.b) && aligned(p.c), "a product's array is not aligned");
  if (bias) {
    expect(!accumulate && bias->ndim() == 1 && static_cast<ptrdiff_t>(bias->shape(0)) == p.N && (p.N == 1 || bias->stride(0) == 1) && aligned(bias->data()),
           "a product's bias is not a contiguous row");
    p.bias = bias->data();
  }
  nb::gil_scoped_release release;
  PooledWorkspace memory;
  kernels_of<T>(isa).matmul(p, *memory, threads_for(PTRDIFF_MAX, 2.0 * double(p.batch) * double(p.M) * double(p.N) * double(p.K)));
}

template <class T> void bind(nb::module_& m, const char* name) {
  m.def(name, matmul<T>, nb::arg("isa"), nb::arg("a").noconvert(), nb::arg("b").noconvert(), nb::arg("bias").noconvert().none(),
        nb::arg("out").noconvert(), nb::arg("accumulate"));
}

}  // namespace

void bind_matmul(nb::module_& m) {
  bind<float>(m, "matmul_float32");
  bind<double>(m, "matmul_float64");
}

}  // namespace tgr
