// What a call needs besides its arrays: the order of work, buffers, a workspace, the number of threads.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "dispatch.h"

namespace tgr {

// A Schedule that owns its memory.
class OwnedSchedule {
 public:
  OwnedSchedule(ptrdiff_t B, ptrdiff_t T, const int64_t* lengths);  // lengths null: every row has T steps
  Schedule view;

 private:
  std::vector<int64_t> values_;
};

// Uninitialised memory, 64-byte aligned.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept : data_(other.data_), bytes_(other.bytes_) { other.data_ = nullptr, other.bytes_ = 0; }
  Buffer& operator=(Buffer&& other) noexcept { return std::swap(data_, other.data_), std::swap(bytes_, other.bytes_), *this; }
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// What the backward pass needs of a forward run, besides its inputs and outputs.
struct Kept {
  Kept(const Isa& isa, ptrdiff_t B, ptrdiff_t T, const int64_t* lengths) : isa(isa), schedule(B, T, lengths) {}
  const Isa& isa;
  OwnedSchedule schedule;
  Buffer gates, cells;
};

// A workspace from a small pool, whose memory is already mapped; the destructor returns it.
class PooledWorkspace {
 public:
  PooledWorkspace();
  ~PooledWorkspace();
  Workspace& operator*() { return *workspace_; }

 private:
  std::unique_ptr<Workspace> workspace_;
};

// The number of threads that the work is worth, at most one per row. `passes`: matrix products per weight, 1 forward, 2 backward.
constexpr double kWorthAThread = 2e6;  // operations: some 20 microseconds of one core
extern std::atomic<double> worth_a_thread;  // tests set less, and then every call uses the threads that it may
int threads_for(ptrdiff_t B, double operations);
int threads_for(ptrdiff_t B, ptrdiff_t total, ptrdiff_t D, ptrdiff_t H, int gates, int passes);

// Whether small calls of one kind use several threads, by the times that they took. Where two cores are far apart, a cache line that one wrote
// and the other reads takes 200 ns, and a few rows of a small network run faster on one. Trials of the slower way take a hundredth of the time;
// a trial is a few calls in a row, because the first of them also waits for a thread to wake.
class ThreadTrials {
 public:
  int choose(int threads, double operations);
  void note(int threads, double operations, double seconds);

 private:
  std::atomic<double> one_{0}, several_{0};  // seconds for an operation: falls at once, rises slowly
  std::atomic<double> saved_{0};             // seconds that a trial of the slower way may cost
  std::atomic<int> left_{8};                 // calls of the present trial; the first is of several threads, then one
  std::atomic<bool> tries_several_{true};
};

}  // namespace tgr
