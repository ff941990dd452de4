// Threads that stay, for work that takes less time than a new thread until it runs.

#ifndef FLOW_KERNELS_WORKERS_H_
#define FLOW_KERNELS_WORKERS_H_

#include <cstddef>
#include <functional>

namespace flow {

// Calls `work` with 0 to threads - 1, each in a thread of its own, 0 in the calling one, and
// returns when all have returned. `work` must not throw.
//
// The other threads belong to the calling one: they wait for its next call, and end with it. In a
// child process they are started anew. Throws std::bad_alloc, and std::system_error if a
// thread cannot be started, both before anything is called.
void run_in_threads(size_t threads, const std::function<void(size_t)>& work);

}  // namespace flow

#endif  // FLOW_KERNELS_WORKERS_H_
