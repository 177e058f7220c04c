// Checks whether the Python objects that a traced step reads have changed since the trace: program/guards.py in C++, because every call runs
// these checks. Objects are compared by identity, which takes a few nanoseconds here; in Python it would take a function call.
#include "bindings.h"

namespace tgr {
namespace {

// In the order of CHECKS in program/guards.py.
enum class Check : long { kItems, kNames, kClass, kList, kSet, kCell, kFunction, kTensor, kArray, kObject, kAttribute };

// An attribute's value; null if there is none, or if it is the contents of an empty closure cell.
nb::object attribute(PyObject* object, PyObject* name) {
  PyObject* value = PyObject_GetAttr(object, name);
  if (!value && (PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_AttributeError))) PyErr_Clear();
  else if (!value) nb::raise_python_error();
  return nb::steal(value);
}
PyObject* item(PyObject* tuple, Py_ssize_t k) {
  PyObject* one = PyTuple_GetItem(tuple, k);
  if (!one) nb::raise_python_error();
  return one;
}
bool equal(PyObject* a, PyObject* b) {
  if (a == b) return true;
  const int same = PyObject_RichCompareBool(a, b, Py_EQ);
  if (same < 0) nb::raise_python_error();
  return same == 1;
}

// Whether a list holds the same keys or values as a dict, in the same order.
bool same_list_as(nb::object list, PyObject* former, bool keys) {
  if (!list.is_valid()) nb::raise_python_error();
  PyObject *key, *value;
  Py_ssize_t k = 0;
  if (PyList_Size(list.ptr()) != PyDict_Size(former)) return false;
  for (Py_ssize_t at = 0; PyDict_Next(former, &at, &key, &value); ++k) {
    if (PyList_GetItem(list.ptr(), k) != (keys ? key : value)) return false;
  }
  return true;
}
// Whether two dicts have the same keys and values in the same order. A subclass of dict may define its own order.
bool same_items(PyObject* dict, PyObject* former) {
  if (!PyDict_CheckExact(dict)) {
    return same_list_as(nb::steal(PyMapping_Keys(dict)), former, true) && same_list_as(nb::steal(PyMapping_Values(dict)), former, false);
  }
  if (PyDict_Size(dict) != PyDict_Size(former)) return false;
  PyObject *key, *value, *held_key, *held_value;
  for (Py_ssize_t at = 0, held_at = 0; PyDict_Next(former, &held_at, &held_key, &held_value);) {
    if (!PyDict_Next(dict, &at, &key, &value) || key != held_key || value != held_value) return false;
  }
  return true;
}
bool same_names(PyObject* dict, PyObject* former, PyObject* missing) {
  PyObject *name, *value;
  for (Py_ssize_t at = 0; PyDict_Next(former, &at, &name, &value);) {
    PyObject* now = PyDict_GetItemWithError(dict, name);
    if (!now && PyErr_Occurred()) nb::raise_python_error();
    if ((now ? now : missing) != value) return false;
  }
  return true;
}
bool same_list(PyObject* list, PyObject* former) {
  const Py_ssize_t n = PyList_Size(list);
  if (n != PyList_Size(former)) return false;
  for (Py_ssize_t k = 0; k < n; ++k) {
    if (PyList_GetItem(list, k) != PyList_GetItem(former, k)) return false;
  }
  return true;
}

// The names of attributes, interned once.
struct Names {
  nb::object code = nb::steal(PyUnicode_InternFromString("__code__")), defaults = nb::steal(PyUnicode_InternFromString("__defaults__")),
             keywords = nb::steal(PyUnicode_InternFromString("__kwdefaults__")), dict = nb::steal(PyUnicode_InternFromString("__dict__")),
             contents = nb::steal(PyUnicode_InternFromString("cell_contents")), data = nb::steal(PyUnicode_InternFromString("data")),
             shape = nb::steal(PyUnicode_InternFromString("shape")), dtype = nb::steal(PyUnicode_InternFromString("dtype")),
             needs = nb::steal(PyUnicode_InternFromString("requires_grad"));
};

bool same_array(const Names& names, PyObject* array, PyObject* former) {
  const nb::object shape = attribute(array, names.shape.ptr()), dtype = attribute(array, names.dtype.ptr());
  return shape.is_valid() && dtype.is_valid() && equal(shape.ptr(), item(former, 0)) && equal(dtype.ptr(), item(former, 1));
}
bool same_class(const Names& names, PyObject* type, PyObject* former) {
  const nb::object own = attribute(type, names.dict.ptr());
  return own.is_valid() && same_list_as(nb::steal(PyMapping_Values(own.ptr())), former, false);
}
// `alive`: a weak reference to the object.
bool same_object(const Names& names, PyObject* alive, PyObject* former) {
  const nb::object object = nb::steal(PyObject_CallNoArgs(alive));
  if (!object.is_valid()) nb::raise_python_error();
  return reinterpret_cast<PyObject*>(Py_TYPE(object.ptr())) == item(former, 0) && attribute(object.ptr(), names.dict.ptr()).ptr() == item(former, 1);
}

#ifdef Py_LIMITED_API
PyObject* contents(const Names& names, PyObject* cell) { return attribute(cell, names.contents.ptr()).ptr(); }  // valid: the cell keeps it alive
bool same_function(const Names& names, PyObject* f, PyObject* former) {
  const auto is = [&](const nb::object& name, Py_ssize_t k) { return attribute(f, name.ptr()).ptr() == item(former, k); };
  return is(names.code, 0) && is(names.defaults, 1) && is(names.keywords, 2);
}
#else  // the same without a dozen attribute look-ups
PyObject* contents(const Names&, PyObject* cell) { return PyCell_GET(cell); }
bool same_function(const Names&, PyObject* f, PyObject* former) {
  const auto is = [&](PyObject* now, Py_ssize_t k) { return (now ? now : Py_None) == item(former, k); };
  return is(PyFunction_GET_CODE(f), 0) && is(PyFunction_GET_DEFAULTS(f), 1) && is(PyFunction_GET_KW_DEFAULTS(f), 2);
}
#endif

bool holds(const Names& names, Check check, PyObject* holder, PyObject* former, PyObject* missing) {
  switch (check) {
    case Check::kItems: return same_items(holder, former);
    case Check::kNames: return same_names(holder, former, missing);
    case Check::kClass: return same_class(names, holder, former);
    case Check::kList: return same_list(holder, former);
    case Check::kSet: {
      const nb::object now = nb::steal(PySequence_List(holder));
      if (!now.is_valid()) nb::raise_python_error();
      return same_list(now.ptr(), former);
    }
    case Check::kCell: {
      PyObject* const now = contents(names, holder);
      return (now ? now : missing) == former;
    }
    case Check::kFunction: return same_function(names, holder, former);
    case Check::kTensor: {
      const nb::object data = attribute(holder, names.data.ptr());
      return data.is_valid() && attribute(holder, names.needs.ptr()).ptr() == item(former, 2) && same_array(names, data.ptr(), former);
    }
    case Check::kArray: return same_array(names, holder, former);
    case Check::kObject: return same_object(names, holder, former);
    case Check::kAttribute: return attribute(holder, item(former, 0)).ptr() == item(former, 1);
  }
  throw std::invalid_argument("native kernels: no such check");
}

}  // namespace

void bind_guards(nb::module_& m) {
  static const Names* const names = new Names;
  m.def("all_hold", [](const nb::list& guards, const nb::object& missing) {
    for (size_t k = 0; k < guards.size(); ++k) {
      PyObject* guard = PyList_GetItem(guards.ptr(), static_cast<Py_ssize_t>(k));
      const long check = PyLong_AsLong(item(guard, 0));
      if (!holds(*names, static_cast<Check>(check), item(guard, 1), item(guard, 2), missing.ptr())) return false;
    }
    return true;
  });
}

}  // namespace tgr
