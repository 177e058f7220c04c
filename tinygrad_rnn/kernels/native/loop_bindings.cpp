// Python bindings of loop programs: built once from tuples, run on arrays.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <chrono>
#include <functional>

#include "bindings.h"
#include "build.h"

namespace tgr {
namespace {

using Ints = std::vector<ptrdiff_t>;
using OperandTuple = std::tuple<int, int, ptrdiff_t, Ints, std::optional<double>>;
using InstructionTuple = std::tuple<std::string, Ints, OperandTuple, std::vector<OperandTuple>, Ints>;
template <class... X> using Tuples = std::vector<std::tuple<X...>>;
using Outers = Tuples<int, int, ptrdiff_t, ptrdiff_t, int, ptrdiff_t, ptrdiff_t>;

void copy_ints(const Ints& from, ptrdiff_t* to, const char* what) {
  expect(from.size() < kMostDims, what);
  for (size_t k = 0; k < from.size(); ++k) to[k] = from[k];
}

Operand operand(const OperandTuple& from) {
  const auto& [where, index, offset, strides, value] = from;
  expect(where >= 0 && where <= 2, "an operand is neither slot, weight nor number");
  Operand o;
  o.where = static_cast<Where>(where);
  o.index = index;
  o.offset = offset;
  copy_ints(strides, o.stride, "an operand has too many strides");
  o.f64 = value.value_or(0), o.f32 = static_cast<float>(o.f64);
  return o;
}

Instruction instruction(const InstructionTuple& from) {
  const auto& [code, shape, out, inputs, extra] = from;
  Instruction i;
  i.code = code_named(code);
  copy_ints(shape, i.shape, "an instruction has too many dimensions");
  expect(inputs.size() <= 3, "an instruction has too many inputs");
  i.dims = static_cast<int>(shape.size());
  i.inputs = static_cast<int>(inputs.size());
  const bool outer = i.code == Code::product || i.code == Code::rowproduct || is_reduction(i.code);  // the output has fewer dimensions
  const auto enough = [&](const OperandTuple& o) { return std::get<0>(o) == 2 || std::get<3>(o).size() == shape.size(); };
  i.out = operand(out);
  for (size_t k = 0; k < inputs.size(); ++k) {
    i.in[k] = operand(inputs[k]);
    expect(enough(inputs[k]) || (i.code == Code::product && k == 2), "an operand's strides are not one for each dimension");
  }
  expect(outer || enough(out), "an output's strides are not one for each dimension");
  if (i.code == Code::product) {
    expect(extra.size() == 2, "a product's extra is not (transposed, accumulate)");
    i.transposed = extra[0] != 0, i.accumulate = extra[1] != 0;
  }
  if (is_reduction(i.code)) {
    expect(extra.size() == 1 && extra[0] >= 0 && extra[0] <= i.dims, "a reduction's extra is not (number of reduced dimensions,)");
    i.reduced = static_cast<int>(extra[0]);
  }
  return i;
}

std::vector<Instruction> instructions(const std::vector<InstructionTuple>& from) {
  std::vector<Instruction> list;
  for (const InstructionTuple& one : from) list.push_back(instruction(one));
  return list;
}

// Weights packed for one program and instruction set.
struct Prepared {
  std::shared_ptr<const OwnedProgram> program;
  const Isa& isa;
  Workspace memory;
  const void* packed = nullptr;
};

// One array's memory, through the buffer protocol, which takes a third of the time of nb::ndarray.
class Exported {
 public:
  Exported() { view_.obj = nullptr; }
  Exported(const Exported&) = delete;
  ~Exported() { PyBuffer_Release(&view_); }

  // Whether `from` is an array of elements of this format ('f' or 'd') whose strides are whole elements.
  bool take(nb::handle from, char format, bool written) {
    if (PyObject_GetBuffer(from.ptr(), &view_, PyBUF_FORMAT | PyBUF_STRIDES | (written ? PyBUF_WRITABLE : 0)) != 0) {
      PyErr_Clear();
      return false;
    }
    if (!view_.format || view_.format[0] != format || view_.format[1] != 0 || reinterpret_cast<uintptr_t>(view_.buf) % size_t(view_.itemsize) != 0) return false;
    for (int k = 0; k < view_.ndim; ++k) {
      if (view_.strides[k] % view_.itemsize != 0) return false;
    }
    return true;
  }
  bool again(nb::handle from, char format) {
    PyBuffer_Release(&view_);
    view_.obj = nullptr;
    return take(from, format, false);
  }
  int ndim() const { return view_.ndim; }
  ptrdiff_t size() const { return view_.len / view_.itemsize; }
  ptrdiff_t shape(int axis) const { return view_.shape[axis]; }
  ptrdiff_t stride(int axis) const { return view_.strides[axis] / view_.itemsize; }
  // Whether the axes from this one on are in C order.
  bool contiguous(int axis = 0) const {
    ptrdiff_t step = 1;
    for (int k = ndim(); k-- > axis; step *= shape(k)) {
      if (shape(k) != 1 && stride(k) != step && size() != 0) return false;
    }
    return true;
  }
  ptrdiff_t elements(int axis) const {
    ptrdiff_t n = 1;
    for (int k = axis; k < ndim(); ++k) n *= shape(k);
    return n;
  }
  template <class T> T* data() const {
    static T nothing{};  // an empty array may have a null address, but null means None here
    return size() ? static_cast<T*>(view_.buf) : &nothing;
  }

 private:
  Py_buffer view_;
};

// The arrays of a call, kept alive while it runs. Inputs may have any layout and dtype: those that the loop cannot read are copied, or with
// `as_they_are` rejected, since later steps use the same arrays.
template <class T> class Arrays {
 public:
  explicit Arrays(size_t most, bool as_they_are = false) : exported_(new Exported[most]), as_they_are_(as_they_are) {}

  // The data of an array in C order, with at least `size` elements or, if rows >= 0, with `rows` rows of `size` elements.
  T* read(nb::handle from, ptrdiff_t rows, ptrdiff_t size) { return flat(take(from, false, 0), rows, size); }
  T* write(nb::handle from, ptrdiff_t rows, ptrdiff_t size) { return flat(take(from, true, 0), rows, size); }

  // A sequence array (B, T, ...), or (T, B, ...) with time_major; or packed: (total, ...).
  Sequence<T> sequence(const SequenceOf& of, nb::handle from, ptrdiff_t B, ptrdiff_t time, ptrdiff_t total, bool time_major) {
    expect(!(from.is_none() && of.written), "a written sequence is None");
    if (from.is_none() || of.size < 0) return {};
    const int first = of.packed ? 1 : 2, b = !of.packed && time_major ? 1 : 0;
    const Exported& array = take(from, of.written, first);
    const bool shaped = array.ndim() >= first && array.shape(b) == (of.packed ? total : B) && (of.packed || array.shape(1 - b) == time);
    expect(shaped && array.elements(first) == of.size, "a sequence has the wrong shape");
    expect(array.contiguous(first), "a sequence's rows are not contiguous");
    return {array.data<T>(), array.stride(b), of.packed ? 0 : array.stride(1 - b)};
  }

 private:
  // The array, whose axes from this one on must be in C order.
  const Exported& take(nb::handle from, bool written, int axis) {
    constexpr char format = sizeof(T) == sizeof(float) ? 'f' : 'd';
    Exported& array = exported_[count_++];
    const bool taken = array.take(from, format, written);
    if (taken && array.contiguous(axis)) return array;
    const bool may_copy = !written && !as_they_are_;
    expect(taken || may_copy, "an argument is not an array of the loop's dtype, aligned and, if it is written, writable");
    expect(may_copy, "an array is not contiguous");
    nb::object numpy = nb::module_::import_("numpy");
    nb::object copy = numpy.attr("array")(from, sizeof(T) == sizeof(float) ? "float32" : "float64", nb::arg("order") = "C");
    expect(array.again(copy, format), "an argument is not an array of numbers");
    return array;
  }
  static T* flat(const Exported& array, ptrdiff_t rows, ptrdiff_t size) {
    if (rows >= 0) expect(array.ndim() >= 1 && array.shape(0) == rows && array.elements(1) == size, "an array has the wrong shape");
    else expect(array.size() >= size, "a weight or target has too few elements");
    return array.data<T>();
  }

  std::unique_ptr<Exported[]> exported_;
  size_t count_ = 0;
  bool as_they_are_;
};

using List_ = std::vector<nb::object>;

// Runs one step at a time on the same arrays, so that arguments are checked only once. The new states overwrite the old ones after the step,
// because the list `after` may still read the old ones.
template <class T> struct Steps {
  Steps(const std::shared_ptr<const OwnedProgram>& owner, const Isa& set, ptrdiff_t B, size_t arrays)
      : program(owner), isa(set), held(arrays, true), schedule(B, 1, nullptr) {}

  std::shared_ptr<const OwnedProgram> program;
  const Isa& isa;
  Arrays<T> held;
  OwnedSchedule schedule;
  std::vector<Sequence<T>> rows;
  std::vector<T*> states, fresh;
  std::vector<std::vector<T>> memory;
  std::vector<const T*> weights;
  Workspace packed_memory;
  const void* packed = nullptr;
  LoopCall<T> call;
  int threads = 1;

  void step() {
    PooledWorkspace workspace;
    kernels_of<T>(isa).loop(program->view, call, *workspace, threads, packed);
    for (size_t k = 0; k < states.size(); ++k) __builtin_memcpy(states[k], fresh[k], memory[k].size() * sizeof(T));
  }
};
struct PyStepper {
  std::function<void()> run;
  void step() const {
    nb::gil_scoped_release release;
    run();
  }
};

class PyLoop {
 public:
  PyLoop(const std::string& dtype, const Tuples<int, int, ptrdiff_t>& slots, const std::vector<InstructionTuple>& once,
         const std::vector<InstructionTuple>& before, const std::vector<InstructionTuple>& body, const std::vector<InstructionTuple>& after,
         const Tuples<bool, int, bool>& sequences, const Tuples<int, ptrdiff_t, ptrdiff_t>& states, const Ints& constants,
         const Tuples<int, int, ptrdiff_t, ptrdiff_t, int, ptrdiff_t, ptrdiff_t, ptrdiff_t>& sums,
         const Tuples<int, ptrdiff_t, ptrdiff_t>& accumulators, const Outers& outers) {
    expect(dtype == "float32" || dtype == "float64", "a loop's dtype is neither float32 nor float64");
    Description d;
    d.f64 = dtype == "float64";
    for (const auto& [storage, index, size] : slots) {
      expect(storage >= 0 && storage <= int(Storage::kScratch), "a slot's storage is out of range");
      d.slots.push_back({static_cast<Storage>(storage), index, size});
    }
    d.once = instructions(once);
    d.before = instructions(before);
    d.body = instructions(body);
    d.after = instructions(after);
    for (const auto& [packed, shifted, written] : sequences) d.sequences.push_back({packed, written, shifted, -1});
    for (const auto& [slot, offset, size] : states) d.states.push_back({slot, offset, size, false, false});
    d.constants = constants;
    for (const auto& [target, left, left_offset, left_size, right, right_offset, right_size, multiple] : sums) {
      d.sums.push_back({target, left, right, left_offset, left_size, right_offset, right_size, multiple});
    }
    for (const auto& [slot, offset, size] : accumulators) d.accumulators.push_back({slot, offset, size});
    for (const auto& [accumulator, left, left_offset, left_size, right, right_offset, right_size] : outers) {
      d.outers.push_back({accumulator, left, right, left_offset, left_size, right_offset, right_size});
    }
    program_ = std::make_shared<const OwnedProgram>(std::move(d));
  }

  void run(const std::string& isa, ptrdiff_t B, ptrdiff_t time, const std::optional<Lengths>& lengths, bool reverse, bool backward,
           const List_& sequences, const List_& initial, const List_& final, const List_& constants, const List_& weights, const List_& targets,
           const List_& accumulated, const List_& initials, const Prepared* prepared, bool time_major) const {
    if (program_->view.element == sizeof(double)) {
      run_as<double>(isa, B, time, lengths, reverse, backward, sequences, initial, final, constants, weights, targets, accumulated, initials, prepared, time_major);
    } else {
      run_as<float>(isa, B, time, lengths, reverse, backward, sequences, initial, final, constants, weights, targets, accumulated, initials, prepared, time_major);
    }
  }

  Prepared* prepare(const std::string& isa, const List_& weights) const {
    return program_->view.element == sizeof(double) ? prepare_as<double>(isa, weights) : prepare_as<float>(isa, weights);
  }

  PyStepper stepper(const std::string& isa, ptrdiff_t B, const List_& sequences, const List_& states, const List_& weights) const {
    return program_->view.element == sizeof(double) ? stepper_as<double>(isa, B, sequences, states, weights)
                                                    : stepper_as<float>(isa, B, sequences, states, weights);
  }

 private:
  template <class T>
  PyStepper stepper_as(const std::string& isa, ptrdiff_t B, const List_& sequences, const List_& states, const List_& weights) const {
    const Program& p = program_->view;
    expect(B >= 0 && B <= ptrdiff_t{1} << 31, "B is out of range");
    expect(static_cast<int>(sequences.size()) == p.sequences.count, "the number of sequences is wrong");
    expect(static_cast<int>(states.size()) == p.states.count, "the number of states is wrong");
    expect(p.constants.count + p.targets.count + p.accumulators.count + p.initials == 0, "a loop with constants or sums does not run step by step");
    auto made = std::make_shared<Steps<T>>(program_, isa_named(isa), B, sequences.size() + states.size() + weights.size());
    Steps<T>& s = *made;
    for (int k = 0; k < p.sequences.count; ++k) {
      s.rows.push_back(s.held.sequence(p.sequences[k], sequences[static_cast<size_t>(k)], B, 1, s.schedule.view.total, false));
    }
    for (int k = 0; k < p.states.count; ++k) {
      s.states.push_back(s.held.write(states[static_cast<size_t>(k)], B, p.states[k].size));
      s.memory.emplace_back(static_cast<size_t>(B * p.states[k].size));
    }
    for (std::vector<T>& m : s.memory) s.fresh.push_back(m.data());
    s.weights = weights_of(p, s.held, weights);
    s.call.B = B, s.call.T_ = 1;
    s.call.schedule = s.schedule.view;
    s.call.sequences = s.rows.data(), s.call.initial = s.states.data(), s.call.final = s.fresh.data(), s.call.weights = s.weights.data();
    s.packed = kernels_of<T>(s.isa).prepare_loop(p, s.weights.data(), s.packed_memory);
    s.threads = threads_for(B, p.row_operations * double(B));
    return {[made] { made->step(); }};
  }

  template <class T> static std::vector<const T*> weights_of(const Program& p, Arrays<T>& arrays, const List_& weights) {
    expect(static_cast<int>(weights.size()) >= p.weights.count, "there are too few weights");
    std::vector<const T*> data;
    for (int k = 0; k < p.weights.count; ++k) data.push_back(arrays.read(weights[static_cast<size_t>(k)], -1, p.weights[k]));
    return data;
  }

  template <class T> Prepared* prepare_as(const std::string& isa, const List_& weights) const {
    auto prepared = std::unique_ptr<Prepared>(new Prepared{program_, isa_named(isa), {}, nullptr});
    Arrays<T> arrays(weights.size());
    const std::vector<const T*> data = weights_of(program_->view, arrays, weights);
    prepared->packed = kernels_of<T>(prepared->isa).prepare_loop(program_->view, data.data(), prepared->memory);
    return prepared.release();
  }

  template <class T>
  void run_as(const std::string& isa_name, ptrdiff_t B, ptrdiff_t time, const std::optional<Lengths>& lengths, bool reverse, bool backward,
              const List_& sequences, const List_& initial, const List_& final, const List_& constants, const List_& weights,
              const List_& targets, const List_& accumulated, const List_& initials, const Prepared* prepared, bool time_major) const {
    const Program& p = program_->view;
    const Isa& isa = isa_named(isa_name);
    constexpr ptrdiff_t kMost = ptrdiff_t{1} << 31;
    expect(B >= 0 && B <= kMost && time >= 0 && time <= kMost, "B or T is out of range");
    expect(!prepared || (prepared->program == program_ && &prepared->isa == &isa), "weights were prepared for another loop or instruction set");
    const auto counted = [](const List_& list, int n, const char* what) { expect(static_cast<int>(list.size()) == n, what); };
    counted(sequences, p.sequences.count, "the number of sequences is wrong");
    counted(initial, p.states.count, "the number of initial states is wrong");
    counted(final, p.states.count, "the number of final states is wrong");
    counted(constants, p.constants.count, "the number of constants is wrong");
    counted(targets, p.targets.count, "the number of targets is wrong");
    counted(accumulated, p.accumulators.count, "the number of accumulated arrays is wrong");
    counted(initials, p.initials, "the number of shifted sequences' initial rows is wrong");

    Arrays<T> arrays(sequences.size() + initial.size() + final.size() + constants.size() + weights.size() + targets.size() + accumulated.size() +
                     initials.size());
    const int64_t* length = nullptr;
    if (lengths) {
      expect(static_cast<ptrdiff_t>(lengths->shape(0)) == B && aligned(lengths->data()), "lengths have the wrong shape");
      length = lengths->data();
      for (ptrdiff_t b = 0; b < B; ++b) expect(length[b] >= 0 && length[b] <= time, "a length is out of range");
    }
    const OwnedSchedule schedule(B, time, length);
    std::vector<Sequence<T>> rows;
    for (int k = 0; k < p.sequences.count; ++k) {
      rows.push_back(arrays.sequence(p.sequences[k], sequences[static_cast<size_t>(k)], B, time, schedule.view.total, time_major));
    }
    const auto read = [&](const List_& list, auto size_of) {
      std::vector<const T*> data;
      for (size_t k = 0; k < list.size(); ++k) data.push_back(list[k].is_none() ? nullptr : arrays.read(list[k], B, size_of(int(k))));
      return data;
    };
    const auto write = [&](const List_& list, ptrdiff_t count, auto size_of) {
      std::vector<T*> data;
      for (size_t k = 0; k < list.size(); ++k) data.push_back(list[k].is_none() ? nullptr : arrays.write(list[k], count, size_of(int(k))));
      return data;
    };
    const auto state_size = [&](int k) { return p.states[k].size; };
    const auto initial_size = [&](int k) {
      ptrdiff_t size = 0;
      for (const SequenceOf& s : p.sequences) {
        expect(s.shifted != k || s.size < 0 || size == 0 || size == s.size, "shifted sequences of different sizes share an initial row");
        if (s.shifted == k && s.size > 0) size = s.size;
      }
      return size;
    };
    const std::vector<const T*> initial_data = read(initial, state_size), constant_data = read(constants, [&](int k) { return p.constants[k]; }),
                                weight_data = weights_of(p, arrays, weights), first_data = read(initials, initial_size);
    const std::vector<T*> final_data = write(final, B, state_size), target_data = write(targets, -1, [&](int k) { return p.targets[k]; }),
                          accumulated_data = write(accumulated, B, [&](int k) { return p.accumulators[k].size; });
    for (const T* at : constant_data) expect(at, "a constant is None");
    for (int k = 0; k < p.targets.count; ++k) expect(target_data[static_cast<size_t>(k)] || p.targets[k] < 0, "a target is None");
    for (const T* at : accumulated_data) expect(at, "an accumulated array is None");

    LoopCall<T> call;
    call.B = B, call.T_ = time;
    call.schedule = schedule.view;
    call.reverse = reverse, call.backward = backward;
    call.sequences = rows.data();
    call.initial = initial_data.data(), call.constants = constant_data.data(), call.weights = weight_data.data(), call.initials = first_data.data();
    call.final = final_data.data(), call.targets = target_data.data(), call.accumulated = accumulated_data.data();
    nb::gil_scoped_release release;
    PooledWorkspace memory;
    const double operations = p.row_operations * double(schedule.view.total) + p.once_operations * double(B);
    const int most = threads_for(B, operations), threads = trials_->choose(most, operations);
    const auto start = std::chrono::steady_clock::now();
    kernels_of<T>(isa).loop(p, call, *memory, threads, prepared ? prepared->packed : nullptr);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (most > 1) trials_->note(threads, operations, took.count());
  }

  std::shared_ptr<const OwnedProgram> program_;
  std::unique_ptr<ThreadTrials> trials_ = std::make_unique<ThreadTrials>();
};

}  // namespace

void bind_loop(nb::module_& m) {
  nb::class_<Prepared>(m, "Prepared");
  nb::class_<PyStepper>(m, "LoopStepper").def("step", &PyStepper::step);
  nb::class_<PyLoop>(m, "Loop")
      .def(nb::init<const std::string&, const Tuples<int, int, ptrdiff_t>&, const std::vector<InstructionTuple>&, const std::vector<InstructionTuple>&,
                    const std::vector<InstructionTuple>&, const std::vector<InstructionTuple>&, const Tuples<bool, int, bool>&,
                    const Tuples<int, ptrdiff_t, ptrdiff_t>&, const Ints&,
                    const Tuples<int, int, ptrdiff_t, ptrdiff_t, int, ptrdiff_t, ptrdiff_t, ptrdiff_t>&, const Tuples<int, ptrdiff_t, ptrdiff_t>&,
                    const Outers&>(),
           nb::arg("dtype"), nb::arg("slots"), nb::arg("once"), nb::arg("before"), nb::arg("body"), nb::arg("after"), nb::arg("sequences"),
           nb::arg("states"), nb::arg("constants"), nb::arg("sums"), nb::arg("accumulators"), nb::arg("outers") = Outers{})
      .def("run", &PyLoop::run, nb::arg("isa"), nb::arg("B"), nb::arg("T"), nb::arg("lengths").noconvert().none(), nb::arg("reverse"),
           nb::arg("backward"), nb::arg("sequences"), nb::arg("initial"), nb::arg("final"), nb::arg("constants"), nb::arg("weights"),
           nb::arg("targets"), nb::arg("accumulated"), nb::arg("initials"), nb::arg("prepared").none(), nb::arg("time_major") = false)
      .def("prepare", &PyLoop::prepare, nb::arg("isa"), nb::arg("weights"), nb::rv_policy::take_ownership)
      .def("stepper", &PyLoop::stepper, nb::arg("isa"), nb::arg("B"), nb::arg("sequences"), nb::arg("states"), nb::arg("weights"));
}

}  // namespace tgr
