// A pool of threads of our own: started when first needed, asleep between calls after a short wait, made anew in a forked child.
//
// OpenMP would leave a forked child waiting for threads that do not exist there, and would share the cores with a second pool (BLAS).
#include "threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

#include "problem.h"

namespace tgr {
namespace {

constexpr int kMostThreads = 1024;

void pause_briefly() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins first, since what is awaited is mostly a few microseconds away, then lets others run.
template <class Done> void spin_until(const Done& done) {
  for (int k = 0; !done(); ++k) {
    if (k < 4000) pause_briefly();
    else std::this_thread::yield();
  }
}

struct Job {
  Team& team;
  void (*body)(void*, Team&, int);
  void* context;
};

// One thread and its letter box: a job put there is being done until the box is empty again.
class Worker {
 public:
  bool start(int index) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // signals go to the threads of the program
    bool started = true;
    try {
      std::thread([this, index] { work(index); }).detach();
    } catch (...) {
      started = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
  }
  void post(const Job* job) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_.store(job, std::memory_order_release);
    }
    wake_.notify_one();
  }
  bool idle() const { return job_.load(std::memory_order_acquire) == nullptr; }

 private:
  void work(int index) {
    for (;;) {
      for (int k = 0; k < 2000 && idle(); ++k) pause_briefly();
      if (idle()) {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [this] { return !idle(); });
      }
      const Job* job = job_.load(std::memory_order_acquire);
      job->body(job->context, job->team, index);
      job_.store(nullptr, std::memory_order_release);
    }
  }

  std::atomic<const Job*> job_{nullptr};
  std::mutex mutex_;
  std::condition_variable wake_;
};

struct Pool {
  std::atomic<bool> taken{false};
  int count = 0;
  Worker* workers[kMostThreads] = {};

  int grow(int n) {
    for (; count < n && count < kMostThreads; ++count) {
      Worker* worker = new (std::nothrow) Worker;
      if (!worker) break;
      if (!worker->start(count + 1)) {
        delete worker;
        break;
      }
      workers[count] = worker;
    }
    return count;
  }
};

// Never destroyed: its threads may outlive every static object.
std::atomic<Pool*> pool{nullptr};
std::atomic<int> most{0};

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

// The processors this process may run on, which can be fewer than there are.
int usable_processors() {
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    const int n = CPU_COUNT(&allowed);
    if (n > 0) return n;
  }
#endif
  const unsigned n = std::thread::hardware_concurrency();
  return n > 0 ? static_cast<int>(n) : 1;
}

}  // namespace

int get_threads() {
  const int set = most.load();
  if (set > 0) return set;
  static const int found = usable_processors();
  return found;
}

void set_threads(int n) { most.store(n); }

void Team::barrier() {
  if (size == 1) return;
  const int round = round_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    round_.store(round + 1, std::memory_order_release);
  } else {
    spin_until([&] { return round_.load(std::memory_order_acquire) != round; });
  }
}

Crew::Crew(int wanted) {
  if (wanted <= 1) return;
  Pool* p = the_pool();
  if (!p || p->taken.exchange(true, std::memory_order_acquire)) return;
  const int helpers = p->grow(wanted - 1);
  size = 1 + (helpers < wanted - 1 ? helpers : wanted - 1);
  pool_ = p;
}

Crew::~Crew() {
  if (pool_) static_cast<Pool*>(pool_)->taken.store(false, std::memory_order_release);
}

void Crew::run(void (*body)(void*, Team&, int), void* context) {
  Team team(size);
  const Job job{team, body, context};
  Pool* p = static_cast<Pool*>(pool_);
  for (int k = 0; k < size - 1; ++k) p->workers[k]->post(&job);
  body(context, team, 0);
  for (int k = 0; k < size - 1; ++k) {
    spin_until([&] { return p->workers[k]->idle(); });
  }
}

}  // namespace tgr
