#include "kernels/phases.h"

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
  run_in_threads(threads, [&](size_t index) {
    for (const Phase& phase : phases) {
      if (!failed) {
        try {
          phase.rows(phase.height * index / threads, phase.height * (index + 1) / threads);
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
