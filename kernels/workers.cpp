#include "kernels/workers.h"

#include <unistd.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace flow {
namespace {

using Work = std::function<void(size_t)>;

class Workers {
 public:
  Workers() = default;
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  ~Workers() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
    }
    begun_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  void run(size_t threads, const Work& work) {
    while (threads_.size() + 1 < threads) {
      const size_t index = threads_.size() + 1;
      threads_.emplace_back([this, index, calls = calls_] { wait(index, calls); });
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      work_ = &work, count_ = threads, running_ = threads - 1;
      ++calls_;
    }
    begun_.notify_all();
    work(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
  }

 private:
  // Of the thread with this number: `calls` have been made before it was started.
  void wait(size_t index, size_t calls) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      begun_.wait(lock, [&] { return ended_ || calls_ != calls; });
      if (ended_) return;
      calls = calls_;
      if (index >= count_) continue;
      const Work& work = *work_;
      lock.unlock();
      work(index);
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable begun_, done_;
  const Work* work_ = nullptr;
  size_t count_ = 0, running_ = 0, calls_ = 0;
  bool ended_ = false;
  std::vector<std::thread> threads_;
};

// A child process has a copy of the object, but not its threads: they cannot be joined there.
struct OfProcess {
  pid_t process = 0;
  std::unique_ptr<Workers> workers;

  ~OfProcess() { leave_to_parent(); }

  void leave_to_parent() {
    if (process != getpid()) static_cast<void>(workers.release());
  }
};

thread_local OfProcess own;

}  // namespace

void run_in_threads(size_t threads, const Work& work) {
  if (threads == 1) {
    work(0);
    return;
  }
  own.leave_to_parent();
  if (own.workers == nullptr) own.workers = std::make_unique<Workers>(), own.process = getpid();
  own.workers->run(threads, work);
}

}  // namespace flow
