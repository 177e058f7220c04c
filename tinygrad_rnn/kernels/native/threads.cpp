// The thread pool: started when first needed; between calls its threads spin for a short time, then sleep. A forked child starts a new pool.
//
// OpenMP would leave a forked child waiting for threads that do not exist there, and would share the cores with a second pool (BLAS).
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <new>
#include <thread>

#include "problem.h"

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <condition_variable>
#include <mutex>
#endif

namespace tgr {
namespace {

constexpr int kMostThreads = 1024;
constexpr ptrdiff_t kMostPieces = 0xffff;                // at a time: the ticket has 16 bits for it
using Clock = std::chrono::steady_clock;
constexpr auto kIdleSpin = std::chrono::microseconds(50);  // until a thread without work sleeps
constexpr auto kSuspension = std::chrono::milliseconds(25);      // during which calls use one thread, if threads were slower

void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins first, because most waits last a few microseconds, then yields the processor.
template <class Done> void spin_until(const Done& done) {
  for (int k = 0; !done(); ++k) {
    if (k < 4000) pause_briefly();
    else std::this_thread::yield();
  }
}

// Lets a thread sleep until another wakes it. On Linux without a lock, so that no thread waits for one that the system has preempted.
#if defined(__linux__)
class Sleep {
 public:
  void begin() { asleep_.store(1); }
  void cancel() { asleep_.store(0); }
  bool begun() const { return asleep_.load() != 0; }
  void wait() {
    while (asleep_.load()) syscall(SYS_futex, &asleep_, FUTEX_WAIT_PRIVATE, 1, nullptr, nullptr, 0);
  }
  void end() {
    if (asleep_.exchange(0)) syscall(SYS_futex, &asleep_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }

 private:
  std::atomic<int> asleep_{0};
};
#else
class Sleep {
 public:
  void begin() { asleep_.store(true); }
  void cancel() { asleep_.store(false); }
  bool begun() const { return asleep_.load(); }
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [this] { return !asleep_.load(); });
  }
  void end() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      asleep_.store(false);
    }
    wake_.notify_one();
  }

 private:
  std::atomic<bool> asleep_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
};
#endif

// The processors that this thread may run on, and those of them that it does not run on now.
struct Processors {
#if defined(__linux__)
  cpu_set_t allowed, others;
  Processors() {
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) CPU_ZERO(&allowed);
    others = allowed;
    const int here = sched_getcpu();
    if (here >= 0 && here < CPU_SETSIZE) CPU_CLR(here, &others);
  }
  int count() const { return CPU_COUNT(&allowed); }
  bool any_other() const { return CPU_COUNT(&others) > 0; }
#else
  int count() const { return 0; }
#endif
};

int usable_processors() {
  if (const int n = Processors().count(); n > 0) return n;
  const unsigned n = std::thread::hardware_concurrency();
  return n > 0 ? static_cast<int>(n) : 1;
}

}  // namespace

// One thread of the pool.
class Worker {
 public:
  bool start(Pool& pool, int index) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are left to the program's own threads
    bool started = true;
    try {
      std::thread thread([this, &pool, index] { work(pool, index); });
      thread_ = thread.native_handle();
      thread.detach();
    } catch (...) {
      started = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
  }

  // Linux may wake a thread on the same processor as the caller, which then does all the work: in a virtual machine an idle processor may
  // look busy to the guest's scheduler. So the thread is bound to the other processors until it runs.
  void wake() {
    if (!sleep_.begun()) return;
#if defined(__linux__)
    processors_ = Processors();
    bound_ = processors_.any_other() && pthread_setaffinity_np(thread_, sizeof(cpu_set_t), &processors_.others) == 0;
#endif
    sleep_.end();
  }

 private:
  void work(Pool& pool, int index);
  void wait_for_work(Pool& pool, int index);

  pthread_t thread_{};
  Sleep sleep_;
  Processors processors_;
  bool bound_ = false;
};

struct Pool {
  std::atomic<bool> taken{false};
  int count = 0;
  Worker* workers[kMostThreads] = {};

  // The current work. Only a thread that has taken a piece reads `body`, `context` and `first`, which change only when all pieces are done.
  void (*body)(const void*, ptrdiff_t, int) = nullptr;
  const void* context = nullptr;
  ptrdiff_t first = 0;
  std::atomic<int> size{0};                     // threads that may take a piece
  alignas(64) std::atomic<uint64_t> ticket{0};  // the work's number (32 bits), its pieces (16), the next piece (16)
  alignas(64) std::atomic<ptrdiff_t> done{0};

  static bool has_pieces(uint64_t ticket) { return (ticket & 0xffff) < (ticket >> 16 & 0xffff); }
  bool open(int index) const { return has_pieces(ticket.load()) && index < size.load(std::memory_order_relaxed); }

  // Decaying averages over past work: the time it took, and the time that the caller alone would have needed. If another process uses a
  // core, a thread on it may be preempted in the middle of a piece for longer than the whole work takes.
  double took = 0, alone = 0;
  double lost = 0;                       // by calls slower than one thread, since the last suspension; faster calls make up for it
  Clock::time_point one_thread_until{};  // until then, calls use one thread

  void note(double seconds, double own_seconds, ptrdiff_t own, ptrdiff_t pieces) {
    if (own == 0) return;
    const double needed = own_seconds / double(own) * double(pieces);
    if (alone == 0) took = 1.5 * needed, alone = 3 * needed;  // an initial assumption: two threads at 3/4 of the ideal speed-up
    seconds = std::min(seconds, 2 * needed);                  // limits the effect of a single outlier
    took = took * 0.75 + seconds;
    alone = alone * 0.75 + needed;
    lost = std::max(0.0, lost + seconds - needed);
  }
  bool contended() const { return took > 0.75 * alone; }
  void suspend_if_slower() {
    if (took <= 1.02 * alone) return;
    // Ten times the time lost, so that attempts with several threads cost at most a tenth.
    const auto ten_times = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(10 * lost));
    one_thread_until = Clock::now() + std::max<Clock::duration>(kSuspension, ten_times);
    took = alone / 2, lost = 0;
  }

  // Runs pieces until none is left; returns the number it ran.
  ptrdiff_t take_part(int index) {
    ptrdiff_t own = 0;
    for (uint64_t now = ticket.load(std::memory_order_acquire); has_pieces(now) && index < size.load(std::memory_order_relaxed);) {
      if (!ticket.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      body(context, first + ptrdiff_t(now & 0xffff), index);
      done.fetch_add(1, std::memory_order_release);
      now = ticket.load(std::memory_order_acquire);
      ++own;
    }
    return own;
  }

  int grow(int n) {
    for (; count < n && count < kMostThreads; ++count) {
      Worker* worker = new (std::nothrow) Worker;
      if (!worker) break;
      if (!worker->start(*this, count + 1)) {
        delete worker;
        break;
      }
      workers[count] = worker;
    }
    return count;
  }
};

void Worker::work(Pool& pool, int index) {
  for (;;) {
    wait_for_work(pool, index);
    pool.take_part(index);
  }
}

void Worker::wait_for_work(Pool& pool, int index) {
  const auto since = Clock::now();
  for (int k = 1; !pool.open(index); ++k) {
    pause_briefly();
    if (k % 32 || Clock::now() - since < kIdleSpin) continue;
    sleep_.begin();
    if (pool.open(index)) return sleep_.cancel();  // work was posted before the poster could see this thread asleep
    sleep_.wait();
#if defined(__linux__)
    if (bound_) sched_setaffinity(0, sizeof(cpu_set_t), &processors_.allowed);
#endif
    return;
  }
}

namespace {

// Never destroyed: its threads may outlive every static object.
std::atomic<Pool*> pool{nullptr};
std::atomic<int> most{0};
std::atomic<Clock::rep> last_call{0};  // when the last call ended

void forget_pool() { pool.store(new (std::nothrow) Pool); }  // in a forked child, where the threads are gone

Pool* the_pool() {
  static const bool once = [] {
    pool.store(new Pool);
    pthread_atfork(nullptr, nullptr, forget_pool);
    return true;
  }();
  (void)once;
  return pool.load();
}

}  // namespace

int get_threads() {
  const int set = most.load();
  if (set > 0) return set;
  static const int found = usable_processors();
  return found;
}

void set_threads(int n) { most.store(n); }

bool threads_asleep() { return Clock::now().time_since_epoch().count() - last_call.load() > Clock::duration(kIdleSpin).count(); }

Crew::Crew(int wanted) {
  if (wanted <= 1) return;
  Pool* p = the_pool();
  if (!p || p->taken.exchange(true, std::memory_order_acquire)) return;
  if (Clock::now() < p->one_thread_until) {
    p->taken.store(false, std::memory_order_release);
    return;
  }
  const int helpers = p->grow(wanted - 1);
  size = 1 + (helpers < wanted - 1 ? helpers : wanted - 1);
  pool_ = p;
  contended = p->contended();
  for (int k = 0; k < size - 1; ++k) p->workers[k]->wake();
}

Crew::~Crew() {
  last_call.store(Clock::now().time_since_epoch().count());
  if (!pool_) return;
  pool_->suspend_if_slower();
  pool_->taken.store(false, std::memory_order_release);
}

void Crew::run(ptrdiff_t pieces, void (*body)(const void*, ptrdiff_t, int), const void* context) {
  if (size == 1 || pieces == 1) {
    for (ptrdiff_t k = 0; k < pieces; ++k) body(context, k, 0);
    return;
  }
  Pool& p = *pool_;
  for (ptrdiff_t first = 0; first < pieces; first += kMostPieces) {
    const ptrdiff_t n = pieces - first < kMostPieces ? pieces - first : kMostPieces;
    p.body = body, p.context = context, p.first = first;
    p.size.store(size, std::memory_order_relaxed);
    p.done.store(0, std::memory_order_relaxed);
    p.ticket.store(((p.ticket.load(std::memory_order_relaxed) >> 32) + 1) << 32 | uint64_t(n) << 16);
    for (int k = 0; k < size - 1 && k < n - 1; ++k) p.workers[k]->wake();
    const auto begin = Clock::now();
    const ptrdiff_t own = p.take_part(0);
    const auto through = Clock::now();
    spin_until([&] { return p.done.load(std::memory_order_acquire) == n; });
    const auto seconds = [&](Clock::time_point end) { return std::chrono::duration<double>(end - begin).count(); };
    p.note(seconds(Clock::now()), seconds(through), own, n);
  }
}

}  // namespace tgr
