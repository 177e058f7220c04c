// Python bindings of training.h (updates, cross-entropy, embedding gradients) and of the memory of large arrays (blocks.h).
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "blocks.h"
#include "training.h"

#include <algorithm>

namespace tgr {
namespace {

template <class T> using Flat = nb::ndarray<const T, nb::device::cpu, nb::c_contig>;
template <class T> using Place = nb::ndarray<T, nb::device::cpu, nb::c_contig>;
using Indices = nb::ndarray<const int64_t, nb::device::cpu, nb::c_contig>;
using Mask = nb::ndarray<const bool, nb::device::cpu, nb::c_contig>;

constexpr ptrdiff_t kPiece = 8192;  // values in one piece of work

template <class Array> auto data_of(const Array& array, ptrdiff_t size) -> decltype(array.data()) {
  expect(static_cast<ptrdiff_t>(array.size()) == size, "an array has the wrong size");
  expect(aligned(array.data()), "an array is not aligned");
  return array.data();
}

// Threads for passes over memory: a value costs as much time as some twenty operations.
int threads_for_values(double values) { return threads_for(kPiece, values * 20); }

// An uninitialised array in a block of blocks.h, which is returned when the array is freed.
template <class T> nb::ndarray<nb::numpy, T> empty(const std::vector<size_t>& shape) {
  size_t size = 1;
  for (size_t n : shape) {
    if (n != 0 && size > SIZE_MAX / sizeof(T) / 4 / n) throw std::bad_alloc();
    size *= n;
  }
  void* data = take_block(size * sizeof(T));
  return {data, shape.size(), shape.data(), nb::capsule(data, [](void* p) noexcept { give_block(p); })};
}


// One update for each parameter (x, g, out, slots, numbers); see training.h.
template <class T> void update(const std::string& isa, int rule, const nb::list& parameters) {
  expect(rule >= 0 && rule <= 2, "no such rule");
  std::vector<std::vector<double>> numbers;
  std::vector<Update<T>> pieces;
  numbers.reserve(parameters.size());
  double values = 0;
  for (const nb::handle& entry : parameters) {
    const nb::tuple parts = nb::cast<nb::tuple>(entry);
    expect(parts.size() == 5, "a parameter has five parts");
    const auto x = nb::cast<Flat<T>>(parts[0], false), g = nb::cast<Flat<T>>(parts[1], false);
    const auto out = nb::cast<Place<T>>(parts[2], false);
    numbers.push_back(nb::cast<std::vector<double>>(parts[4]));
    expect(numbers.back().size() == kNumbers, "a parameter has the wrong number of numbers");
    Update<T> whole;
    whole.n = static_cast<ptrdiff_t>(x.size());
    whole.x = data_of(x, whole.n), whole.g = data_of(g, whole.n), whole.out = data_of(out, whole.n);
    whole.numbers = numbers.back().data();
    const nb::tuple slots = nb::cast<nb::tuple>(parts[3]);
    expect(slots.size() == kSlots, "a parameter has the wrong number of slots");
    for (int k = 0; k < kSlots; ++k) {
      if (!slots[k].is_none()) whole.slots[k] = data_of(nb::cast<Place<T>>(slots[k], false), whole.n);
    }
    expect(rule != int(Rule::kAdam) || (whole.slots[0] && whole.slots[1]), "Adam needs its moments");
    expect(rule != int(Rule::kRmsprop) || whole.slots[0], "RMSprop needs its squares");
    values += double(whole.n);
    for (ptrdiff_t at = 0; at < whole.n; at += kPiece) {
      Update<T> piece = whole;
      piece.n = std::min(kPiece, whole.n - at);
      piece.x += at, piece.g += at, piece.out += at;
      for (T*& slot : piece.slots) slot = slot ? slot + at : nullptr;
      pieces.push_back(piece);
    }
  }
  const Isa& set = isa_named(isa);
  nb::gil_scoped_release release;
  kernels_of<T>(set).training->update(static_cast<Rule>(rule), pieces.data(), static_cast<ptrdiff_t>(pieces.size()), threads_for_values(values));
}

template <class T> std::vector<Values<T>> spans(const nb::list& arrays, const nb::list* outs, double& values) {
  std::vector<Values<T>> pieces;
  for (size_t k = 0; k < arrays.size(); ++k) {
    const auto in = nb::cast<Flat<T>>(arrays[k], false);
    const ptrdiff_t n = static_cast<ptrdiff_t>(in.size());
    T* out = outs ? data_of(nb::cast<Place<T>>((*outs)[k], false), n) : nullptr;
    values += double(n);
    for (ptrdiff_t at = 0; at < n; at += kPiece) pieces.push_back({std::min(kPiece, n - at), data_of(in, n) + at, out ? out + at : nullptr});
  }
  return pieces;
}

// The sum of the squares of all values, in double; the same for any number of threads.
template <class T> double squares(const std::string& isa, const nb::list& arrays) {
  double values = 0, sum = 0;
  const std::vector<Values<T>> pieces = spans<T>(arrays, nullptr, values);
  std::vector<double> sums(pieces.size());
  const Isa& set = isa_named(isa);
  {
    nb::gil_scoped_release release;
    kernels_of<T>(set).training->squares(pieces.data(), sums.data(), static_cast<ptrdiff_t>(pieces.size()), threads_for_values(values / 4));
  }
  for (double part : sums) sum += part;
  return sum;
}

// outs = factor * arrays; an array may be its own out.
template <class T> void scale(const std::string& isa, double factor, const nb::list& arrays, const nb::list& outs) {
  expect(arrays.size() == outs.size(), "the numbers of arrays and results differ");
  double values = 0;
  const std::vector<Values<T>> pieces = spans<T>(arrays, &outs, values);
  const Isa& set = isa_named(isa);
  nb::gil_scoped_release release;
  kernels_of<T>(set).training->scale(T(factor), pieces.data(), static_cast<ptrdiff_t>(pieces.size()), threads_for_values(values / 4));
}

template <class T> CrossEntropy<T> cross_entropy_of(const Flat<T>& logits, const Indices& targets, const std::optional<Mask>& mask) {
  expect(logits.ndim() == 2, "the logits have the wrong rank");
  CrossEntropy<T> p;
  p.rows = logits.shape(0), p.classes = logits.shape(1);
  p.logits = data_of(logits, p.rows * p.classes);
  p.targets = data_of(targets, p.rows);
  if (mask) p.mask = reinterpret_cast<const uint8_t*>(data_of(*mask, p.rows));
  return p;
}

// Returns the first row whose target is out of range, or -1 if there is none and the losses were computed.
template <class T>
ptrdiff_t cross_entropy(const std::string& isa, const Flat<T>& logits, const Indices& targets, std::optional<Mask> mask, const Place<T>& losses,
                        const Place<T>& largest, const Place<T>& total) {
  CrossEntropy<T> p = cross_entropy_of<T>(logits, targets, mask);
  for (ptrdiff_t r = 0; r < p.rows; ++r) {
    if ((!p.mask || p.mask[r]) && (p.targets[r] < 0 || p.targets[r] >= p.classes)) return r;
  }
  p.losses = data_of(losses, p.rows), p.largest = data_of(largest, p.rows), p.total = data_of(total, p.rows);
  const Isa& set = isa_named(isa);
  nb::gil_scoped_release release;
  kernels_of<T>(set).training->cross_entropy(p, threads_for_values(double(p.rows) * double(p.classes)));
  return -1;
}

template <class T>
void cross_entropy_back(const std::string& isa, const Flat<T>& logits, const Indices& targets, std::optional<Mask> mask, const Flat<T>& largest,
                        const Flat<T>& total, const Flat<T>& g, double weight, const Place<T>& slope) {
  CrossEntropy<T> p = cross_entropy_of<T>(logits, targets, mask);
  p.largest = const_cast<T*>(data_of(largest, p.rows)), p.total = const_cast<T*>(data_of(total, p.rows));  // the backward pass only reads them
  p.g_step = g.ndim() == 0 ? 0 : 1;
  p.g = data_of(g, p.g_step ? p.rows : 1);
  p.weight = T(weight);
  p.slope = data_of(slope, p.rows * p.classes);
  const Isa& set = isa_named(isa);
  nb::gil_scoped_release release;
  kernels_of<T>(set).training->cross_entropy_back(p, threads_for_values(double(p.rows) * double(p.classes)));
}

// Fills the table with zeros and adds values[i] to its row index[i].
template <class T> void scatter(const std::string& isa, const Indices& index, const Flat<T>& values, const Place<T>& table) {
  expect(table.ndim() == 2, "the table has the wrong rank");
  Scatter<T> p;
  p.count = index.size(), p.rows = table.shape(0), p.width = table.shape(1);
  p.index = data_of(index, p.count), p.values = data_of(values, p.count * p.width), p.table = data_of(table, p.rows * p.width);
  for (ptrdiff_t i = 0; i < p.count; ++i) expect(p.index[i] >= 0 && p.index[i] < p.rows, "an index is out of range");
  const Isa& set = isa_named(isa);
  nb::gil_scoped_release release;
  kernels_of<T>(set).training->scatter(p, threads_for_values(double(p.count + p.rows) * double(p.width) / 4));
}

template <class T> void bind(nb::module_& m, const char* suffix) {
  const auto named = [&](const char* name) { return std::string(name) + suffix; };
  const auto array = [](const char* name) { return nb::arg(name).noconvert(); };
  const auto maybe = [](const char* name) { return nb::arg(name).noconvert().none(); };
  m.def(named("empty_").c_str(), empty<T>);
  m.def(named("update_").c_str(), update<T>);
  m.def(named("squares_").c_str(), squares<T>);
  m.def(named("scale_").c_str(), scale<T>);
  m.def(named("cross_entropy_").c_str(), cross_entropy<T>, nb::arg("isa"), array("logits"), array("targets"), maybe("mask"), array("losses"),
        array("largest"), array("total"));
  m.def(named("cross_entropy_back_").c_str(), cross_entropy_back<T>, nb::arg("isa"), array("logits"), array("targets"), maybe("mask"),
        array("largest"), array("total"), array("g"), nb::arg("weight"), array("slope"));
  m.def(named("scatter_").c_str(), scatter<T>, nb::arg("isa"), array("index"), array("values"), array("table"));
}

}  // namespace

void bind_training(nb::module_& m) {
  bind<float>(m, "float32");
  bind<double>(m, "float64");
  m.def("kept_bytes", kept_bytes);
}

}  // namespace tgr
