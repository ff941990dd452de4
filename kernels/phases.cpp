#include "kernels/phases.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

#include "kernels/workers.h"

namespace flow {
namespace {

// Where threads wait for each other. Phases take less than a millisecond, and threads of the same
// work end them together: they ask again and again, and let others run in between.
class Barrier {
 public:
  explicit Barrier(size_t threads) : threads_(threads) {}

  void wait() {
    const size_t round = round_.load();
    if (arrived_.fetch_add(1) + 1 == threads_) {
      arrived_.store(0);
      round_.store(round + 1);
      return;
    }
    while (round_.load() == round) std::this_thread::yield();
  }

 private:
  const size_t threads_;
  std::atomic<size_t> arrived_ = 0, round_ = 0;
};

}  // namespace

void run_phases(const std::vector<Phase>& phases, size_t threads) {
  Barrier barrier(threads);
  std::vector<std::exception_ptr> failures(threads);
  std::atomic<bool> failed = false;
  // Rows of each thread's part of each phase that a thread has taken.
  std::vector<std::atomic<size_t>> taken(phases.size() * threads);
  // A thread begins with its own part, whose rows it has in its cache.
  const auto work = [&](size_t number, size_t index) {
    const Phase& phase = phases[number];
    for (size_t other = 0; other < threads; ++other) {
      const size_t part = (index + other) % threads;
      const size_t begin = phase.height * part / threads;
      const size_t end = phase.height * (part + 1) / threads;
      const size_t at_once = (end - begin + phase.pieces - 1) / phase.pieces;
      std::atomic<size_t>& next = taken[number * threads + part];
      for (size_t at; (at = begin + next.fetch_add(at_once)) < end;) {
        phase.rows(at, std::min(at + at_once, end));
      }
    }
  };
  run_in_threads(threads, [&](size_t index) {
    for (size_t number = 0; number < phases.size(); ++number) {
      if (!failed) {
        try {
          work(number, index);
        } catch (...) {
          failures[index] = std::current_exception();
          failed = true;
        }
      }
      barrier.wait();
    }
  });
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
}

}  // namespace flow
