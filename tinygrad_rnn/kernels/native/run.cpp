#include "run.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <new>
#include <numeric>

#include "blocks.h"
#include "threads.h"

namespace tgr {

OwnedSchedule::OwnedSchedule(ptrdiff_t B, ptrdiff_t T, const int64_t* lengths) {
  const ptrdiff_t steps = B == 0 ? 0 : lengths ? *std::max_element(lengths, lengths + B) : T;
  values_.resize(static_cast<size_t>(2 * B + steps + 1));
  int64_t *row = values_.data(), *length = row + B, *start = length + B;
  std::iota(row, row + B, 0);
  if (lengths) {
    std::stable_sort(row, row + B, [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
  }
  for (ptrdiff_t j = 0; j < B; ++j) length[j] = lengths ? lengths[row[j]] : T;
  ptrdiff_t alive = B, total = 0;
  for (ptrdiff_t s = 0; s < steps; ++s) {
    while (alive > 0 && length[alive - 1] <= s) --alive;
    start[s] = total;
    total += alive;
  }
  start[steps] = total;
  view = {steps, total, row, length, start};
}

Buffer::Buffer(size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  data_ = bytes < kLeastBlock ? std::aligned_alloc(64, (bytes + 63) / 64 * 64) : take_block(bytes);
  if (!data_) throw std::bad_alloc();
}

Buffer::~Buffer() {
  if (bytes_ < kLeastBlock) std::free(data_);
  else give_block(data_);
}

namespace {
// Single atomic pointers instead of a lock, which a fork could leave locked.
std::atomic<Workspace*> spare[4];
constexpr size_t kKeep = size_t{64} << 20;
}  // namespace

PooledWorkspace::PooledWorkspace() {
  for (std::atomic<Workspace*>& slot : spare) {
    workspace_.reset(slot.exchange(nullptr));
    if (workspace_) return;
  }
  workspace_ = std::make_unique<Workspace>();
}

PooledWorkspace::~PooledWorkspace() {
  if (workspace_->size() > kKeep) return;
  workspace_->reset();
  for (std::atomic<Workspace*>& slot : spare) {
    Workspace* none = nullptr;
    if (slot.compare_exchange_strong(none, workspace_.get())) {
      workspace_.release();
      return;
    }
  }
}

std::atomic<double> worth_a_thread{kWorthAThread};

int threads_for(ptrdiff_t B, double operations) {
  const double worth = worth_a_thread.load() * (threads_asleep() ? 4 : 1);
  const double most = std::min({double(get_threads()), double(B), 1 + operations / worth});
  return std::max(1, static_cast<int>(most));
}
int threads_for(ptrdiff_t B, ptrdiff_t total, ptrdiff_t D, ptrdiff_t H, int gates, int passes) {
  return threads_for(B, 2.0 * passes * double(total) * double(D + H) * gates * double(H));
}

constexpr double kSmallWork = 1e8;  // operations, a millisecond of one core: larger work always uses several threads
constexpr int kTrial = 4;           // calls

int ThreadTrials::choose(int threads, double operations) {
  if (threads <= 1 || operations > kSmallWork || worth_a_thread.load() < kWorthAThread) return threads;
  const double one = one_.load(), several = several_.load();
  if (left_.load() <= 0) {
    const bool best = several <= one;
    if (saved_.load() <= kTrial * std::min(std::abs(several - one), std::min(several, one)) * operations) return best ? threads : 1;
    saved_.store(0);
    tries_several_.store(!best);
    left_.store(kTrial);
  }
  if (left_.fetch_sub(1) == kTrial + 1) tries_several_.store(false);
  return tries_several_.load() ? threads : 1;
}

void ThreadTrials::note(int threads, double operations, double seconds) {
  if (operations > kSmallWork) return;
  std::atomic<double>& average = threads > 1 ? several_ : one_;
  const double now = seconds / operations, before = average.load();
  average.store(before == 0 || now < before ? now : before + (now - before) / 8);
  saved_.store(saved_.load() + seconds / 100);
}

}  // namespace tgr
