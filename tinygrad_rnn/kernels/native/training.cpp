// Optimiser updates, losses and embedding gradients for one instruction set. Like isa.cpp, this file is compiled once for each set.
#include "training.h"

#include "loss.h"
#include "update.h"

namespace tgr::TGR_ISA {

template <class T>
constexpr Training<T> kFunctions{update<T>, squares<T>, scale_all<T>, cross_entropy<T>, cross_entropy_back<T>, scatter<T>};
extern const Training<float> training_float32;
extern const Training<double> training_float64;
const Training<float> training_float32 = kFunctions<float>;
const Training<double> training_float64 = kFunctions<double>;

}  // namespace tgr::TGR_ISA
