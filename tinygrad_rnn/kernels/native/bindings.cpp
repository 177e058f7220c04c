// Python bindings of the recurrent kernels. `forward` and `backward` check their arguments and return False for those that they cannot use as
// they are; Python then raises an error that says why, or converts the arrays to a layout that the kernels read.
#include "bindings.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "threads.h"

namespace tgr {
namespace {

// The data of a contiguous array of this shape, or null for None.
template <class Array> auto flat(const std::optional<Array>& array, std::initializer_list<ptrdiff_t> shape) -> decltype(array->data()) {
  if (!array) return nullptr;
  expect(array->ndim() == shape.size(), "an array has the wrong rank");
  ptrdiff_t step = 1;
  for (size_t k = shape.size(); k-- > 0; step *= array->shape(k)) {
    expect(static_cast<ptrdiff_t>(array->shape(k)) == shape.begin()[k], "an array has the wrong shape");
    expect(array->shape(k) == 1 || array->stride(k) == step || array->size() == 0, "an array is not contiguous");
  }
  expect(aligned(array->data()), "an array is not aligned");
  return array->data();
}
template <class Array> auto flat(const Array& array, std::initializer_list<ptrdiff_t> shape) { return flat(std::optional<Array>(array), shape); }

// The data of a contiguous matrix in row-major or column-major order.
template <class Array>
auto matrix(const std::optional<Array>& array, ptrdiff_t rows, ptrdiff_t columns, bool& column_major) -> decltype(array->data()) {
  column_major = array && array->ndim() == 2 && rows > 1 && columns > 1 && static_cast<ptrdiff_t>(array->shape(0)) == rows &&
                 static_cast<ptrdiff_t>(array->shape(1)) == columns && array->stride(0) == 1 && array->stride(1) == rows;
  if (!column_major) return flat(array, {rows, columns});
  expect(aligned(array->data()), "an array is not aligned");
  return array->data();
}

// A sequence array (B, T, width) or (T, B, width) whose last axis is contiguous.
template <class T, class Array>
Sequence<T> sequence(const std::optional<Array>& array, ptrdiff_t B, ptrdiff_t time, ptrdiff_t width, bool time_major) {
  if (!array) return {};
  const int b = time_major ? 1 : 0, t = 1 - b;
  expect(array->ndim() == 3 && static_cast<ptrdiff_t>(array->shape(b)) == B && static_cast<ptrdiff_t>(array->shape(t)) == time &&
             static_cast<ptrdiff_t>(array->shape(2)) == width,
         "a sequence has the wrong shape");
  expect(width <= 1 || array->size() == 0 || array->stride(2) == 1, "a sequence's last axis is not contiguous");
  expect(aligned(array->data()), "a sequence is not aligned");
  static T nothing{};  // an empty array may have a null address, but null means None here
  return {array->size() ? array->data() : &nothing, array->stride(b), array->stride(t)};
}

constexpr int kGates[] = {1, 1, 4, 3, 3};

// The inputs of a run, for both the forward and the backward pass.
template <class T> struct Inputs {
  std::optional<In<T>> x, kernel, recurrent, bias, recurrent_bias, c0, h0;
};

template <class T>
Problem<T> problem(int cell, bool reverse, bool time_major, bool torch, const Inputs<T>& in, ptrdiff_t B, ptrdiff_t time, ptrdiff_t D,
                   ptrdiff_t H) {
  expect(cell >= 0 && cell <= 4, "the cell's number is out of range");
  Problem<T> p;
  const ptrdiff_t G = kGates[cell] * H;
  p.cell = static_cast<Cell>(cell);
  p.reverse = reverse;
  p.B = B, p.T_ = time, p.D = D, p.H = H;
  p.x = sequence<const T>(in.x, B, time, D, time_major);
  p.torch = torch;
  if (torch) {
    p.kernel_column_major = p.recurrent_column_major = true;
    p.kernel = flat(in.kernel, {G, D});
    p.recurrent = flat(in.recurrent, {G, H});
  } else {
    p.kernel = matrix(in.kernel, D, G, p.kernel_column_major);
    p.recurrent = matrix(in.recurrent, H, G, p.recurrent_column_major);
  }
  p.bias = flat(in.bias, {G});
  p.recurrent_bias = flat(in.recurrent_bias, {G});
  p.c0 = flat(in.c0, {B, H});
  p.h0 = flat(in.h0, {B, H});
  return p;
}

// Returns arrange(). If it rejects the arguments, the next overload is called, which returns False.
template <class F> auto if_they_fit(F&& arrange) {
  try {
    return arrange();
  } catch (const std::invalid_argument&) {
    throw nb::next_overload();
  }
}

template <class T>
nb::object forward(const std::string& isa_name, int cell, bool reverse, bool time_major, bool torch, int save, const In<T>& x, const In<T>& kernel,
                   const In<T>& recurrent, const In<T>& bias, std::optional<In<T>> recurrent_bias, std::optional<In<T>> c0,
                   std::optional<In<T>> h0, std::optional<Lengths> lengths, const Out<T>& outputs, std::optional<Out<T>> c, const Out<T>& h) {
  const Isa* isa = nullptr;
  ptrdiff_t B = 0, time = 0;
  const int64_t* length = nullptr;
  Problem<T> p = if_they_fit([&] {
    expect(x.ndim() == 3 && recurrent.ndim() == 2, "x or the recurrent kernel has the wrong rank");
    B = x.shape(time_major ? 1 : 0), time = x.shape(time_major ? 0 : 1);
    isa = &isa_named(isa_name);
    Problem<T> p = problem<T>(cell, reverse, time_major, torch, {x, kernel, recurrent, bias, recurrent_bias, c0, h0}, B, time, x.shape(2),
                              recurrent.shape(torch ? 1 : 0));
    p.outputs = sequence<T>(std::optional<Out<T>>(outputs), B, time, p.H, time_major);
    p.c = flat(c, {B, p.H});
    p.h = flat(h, {B, p.H});
    expect(p.cell != Cell::kLstm || c, "the LSTM needs c");
    length = flat(lengths, {B});
    for (ptrdiff_t b = 0; length && b < B; ++b) expect(length[b] >= 0 && length[b] <= time, "a length is out of range");
    return p;
  });

  std::unique_ptr<Kept> kept;
  {
    nb::gil_scoped_release release;
    kept = std::make_unique<Kept>(*isa, B, time, length);
    p.schedule = kept->schedule.view;
    const Kernels<T>& kernels = kernels_of<T>(*isa);
    if (save) {
      const SavedSizes sizes = kernels.saved_sizes(p.cell, B, p.H, p.schedule.total, save == 2);
      kept->gates = Buffer(sizes.gates * sizeof(T));
      kept->cells = Buffer(sizes.cells * sizeof(T));
      p.gates = static_cast<T*>(kept->gates.data());
      p.cells = static_cast<T*>(kept->cells.data());
    }
    PooledWorkspace memory;
    kernels.forward(p, *memory, threads_for(B, p.schedule.total, p.D, p.H, kGates[cell], 1));
  }
  return save ? nb::cast(kept.release(), nb::rv_policy::take_ownership) : nb::none();
}

// The problem of a saved run, for its backward pass or trace.
template <class T>
Problem<T> again(const Kept& kept, int cell, bool reverse, bool time_major, bool torch, const Inputs<T>& in, const std::optional<In<T>>& outputs) {
  const ptrdiff_t B = in.x->shape(time_major ? 1 : 0), time = in.x->shape(time_major ? 0 : 1), H = in.recurrent->shape(torch ? 1 : 0);
  Problem<T> p = problem<T>(cell, reverse, time_major, torch, in, B, time, in.x->shape(2), H);
  const Sequence<const T> read = sequence<const T>(outputs, B, time, H, time_major);
  p.outputs = {const_cast<T*>(read.data), read.row, read.time};  // the backward pass only reads them
  p.schedule = kept.schedule.view;
  p.gates = static_cast<T*>(kept.gates.data());
  p.cells = static_cast<T*>(kept.cells.data());
  return p;
}

template <class T>
bool backward(const Kept& kept, int cell, bool reverse, bool time_major, bool torch, const In<T>& x, const In<T>& kernel, const In<T>& recurrent,
              const In<T>& bias, std::optional<In<T>> recurrent_bias, std::optional<In<T>> c0, std::optional<In<T>> h0, const In<T>& outputs,
              std::optional<In<T>> d_outputs, std::optional<In<T>> d_cells, std::optional<In<T>> d_c, std::optional<In<T>> d_h,
              std::optional<Out<T>> dx, std::optional<Out<T>> d_kernel, std::optional<Out<T>> d_recurrent, std::optional<Out<T>> d_bias,
              std::optional<Out<T>> d_recurrent_bias, std::optional<Out<T>> d_c0, std::optional<Out<T>> d_h0) {
  Problem<T> p = if_they_fit([&] {
    Problem<T> p = again<T>(kept, cell, reverse, time_major, torch, {x, kernel, recurrent, bias, recurrent_bias, c0, h0}, outputs);
    const ptrdiff_t B = p.B, H = p.H, G = kGates[cell] * H;
    p.d_outputs = sequence<const T>(d_outputs, B, p.T_, H, time_major);
    p.d_cells = sequence<const T>(d_cells, B, p.T_, H, time_major);
    p.d_c = flat(d_c, {B, H});
    p.d_h = flat(d_h, {B, H});
    p.dx = sequence<T>(dx, B, p.T_, p.D, time_major);
    p.d_kernel = torch ? flat(d_kernel, {G, p.D}) : flat(d_kernel, {p.D, G});
    p.d_recurrent = torch ? flat(d_recurrent, {G, H}) : flat(d_recurrent, {H, G});
    p.d_bias = flat(d_bias, {G});
    p.d_recurrent_bias = flat(d_recurrent_bias, {G});
    p.d_c0 = flat(d_c0, {B, H});
    p.d_h0 = flat(d_h0, {B, H});
    return p;
  });
  nb::gil_scoped_release release;
  PooledWorkspace memory;
  kernels_of<T>(kept.isa).backward(p, *memory, threads_for(p.B, p.schedule.total, p.D, p.H, kGates[cell], 2));
  return true;
}

template <class T>
void trace(const Kept& kept, int cell, bool reverse, bool time_major, bool torch, int which, const In<T>& x, const In<T>& kernel, const In<T>& recurrent,
           const In<T>& bias, const Out<T>& out) {
  Problem<T> p = again<T>(kept, cell, reverse, time_major, torch, {x, kernel, recurrent, bias, {}, {}, {}}, std::nullopt);
  expect(which >= 0 && which < kGates[cell] + (p.cell == Cell::kLstm) && (p.gates || p.schedule.total * p.H == 0), "the run has not saved this gate");
  kernels_of<T>(kept.isa).trace(p, which, sequence<T>(std::optional<Out<T>>(out), p.B, p.T_, p.H, time_major));
}

// Runs one step at a time; weights are packed and memory is allocated once. Every step reads and writes the caller's arrays `h` and `c`.
template <class T> class Stepper {
 public:
  Stepper(const std::string& isa, int cell, const In<T>& kernel, const In<T>& recurrent, const In<T>& bias, std::optional<In<T>> recurrent_bias,
          std::optional<Out<T>> c, const Out<T>& h)
      : kernels_(kernels_of<T>(isa_named(isa))), c_(c), h_(h), output_(sizeof(T) * h.size()) {
    expect(kernel.ndim() == 2 && h.ndim() == 2, "the kernel or h has the wrong rank");
    const ptrdiff_t B = h.shape(0), H = h.shape(1);
    schedule_ = std::make_unique<OwnedSchedule>(B, 1, nullptr);
    p_ = problem<T>(cell, false, false, false, {std::nullopt, kernel, recurrent, bias, recurrent_bias, {}, {}}, B, 1, kernel.shape(0), H);
    expect(p_.cell != Cell::kLstm || c, "the LSTM needs c");
    p_.schedule = schedule_->view;
    p_.h0 = p_.h = flat(h_, {B, H});
    p_.c0 = p_.c = flat(c_, {B, H});
    p_.outputs = {static_cast<T*>(output_.data()), H, 0};
    weights_ = kernels_.prepare(p_, packed_);
  }
  void step(const In<T>& x) {
    p_.x = {flat(x, {p_.B, p_.D}), p_.D, 0};
    memory_.reset();
    kernels_.step(p_, memory_, weights_);
  }

 private:
  const Kernels<T>& kernels_;
  std::optional<Out<T>> c_;
  Out<T> h_;
  Buffer output_;
  std::unique_ptr<OwnedSchedule> schedule_;
  Problem<T> p_;
  Workspace packed_, memory_;
  const void* weights_;
};

template <class T> void activation(const std::string& isa, int which, const In<T>& from, const Out<T>& to) {
  const ptrdiff_t n = from.size();
  kernels_of<T>(isa_named(isa)).activation(which, flat(from, {n}), flat(to, {n}), n);
}

template <class T> void bind(nb::module_& m, const char* suffix) {
  const auto named = [&](const char* name) { return std::string(name) + suffix; };
  const auto array = [](const char* name) { return nb::arg(name).noconvert(); };  // noconvert: an array of another type is rejected, not copied
  const auto maybe = [](const char* name) { return nb::arg(name).noconvert().none(); };
  m.def(named("forward_").c_str(), forward<T>, nb::arg("isa"), nb::arg("cell"), nb::arg("reverse"), nb::arg("time_major"), nb::arg("torch"), nb::arg("save"),
        array("x"), array("kernel"), array("recurrent"), array("bias"), maybe("recurrent_bias"), maybe("c0"), maybe("h0"), maybe("lengths"),
        array("outputs"), maybe("c"), array("h"));
  m.def(named("backward_").c_str(), backward<T>, nb::arg("kept"), nb::arg("cell"), nb::arg("reverse"), nb::arg("time_major"), nb::arg("torch"), array("x"),
        array("kernel"), array("recurrent"), array("bias"), maybe("recurrent_bias"), maybe("c0"), maybe("h0"), array("outputs"),
        maybe("d_outputs"), maybe("d_cells"), maybe("d_c"), maybe("d_h"), maybe("dx"), maybe("d_kernel"), maybe("d_recurrent"), maybe("d_bias"),
        maybe("d_recurrent_bias"), maybe("d_c0"), maybe("d_h0"));
  const auto refused = [](nb::args, nb::kwargs) { return false; };
  m.def(named("forward_").c_str(), refused);
  m.def(named("backward_").c_str(), refused);
  nb::class_<Stepper<T>>(m, named("Stepper_").c_str())
      .def(nb::init<const std::string&, int, const In<T>&, const In<T>&, const In<T>&, std::optional<In<T>>, std::optional<Out<T>>, const Out<T>&>(),
           nb::arg("isa"), nb::arg("cell"), array("kernel"), array("recurrent"), array("bias"), maybe("recurrent_bias"),
           maybe("c"), array("h"))
      .def("step", &Stepper<T>::step, array("x"));
  m.def(named("trace_").c_str(), trace<T>);
  m.def(named("activation_").c_str(), activation<T>);
}

}  // namespace
}  // namespace tgr

NB_MODULE(_native, m) {
  using namespace tgr;
  nb::set_leak_warnings(false);  // a graph may be alive when Python exits
  nb::class_<Kept>(m, "Kept").def_prop_ro("nbytes", [](const Kept& kept) { return kept.gates.bytes() + kept.cells.bytes(); });
  bind<float>(m, "float32");
  bind<double>(m, "float64");
  bind_guards(m);
  bind_loop(m);
  bind_training(m);
  bind_matmul(m);
  m.def("isas", [] {
    nb::list names;
    for (const Isa* const* isa = available(); *isa; ++isa) names.append(nb::str((*isa)->name));
    return names;
  });
  m.def("set_num_threads", set_threads);
  m.def("get_num_threads", get_threads);
  m.def("set_worth_a_thread", [](double operations) { worth_a_thread.store(operations); });  // for tests: threads for small shapes too
  m.def("compiler", [] { return TGR_COMPILER; });
}
