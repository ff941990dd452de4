// Phases of work on the rows of an image, done by several threads.

#ifndef FLOW_KERNELS_PHASES_H_
#define FLOW_KERNELS_PHASES_H_

#include <cstddef>
#include <functional>
#include <vector>

namespace flow {

// What is done with rows [begin, end); the whole of a phase before any of the next one.
struct Phase {
  size_t height;
  std::function<void(size_t, size_t)> rows;
  // Of each thread's part: a thread that has done its own takes those that are left of others. 1:
  // rows are done in less time together.
  size_t pieces = 6;
};

// Goes through the phases; each thread has a part of the rows, and helps the others when it is
// done. Throws what a phase has thrown, and std::system_error where a thread cannot be started.
void run_phases(const std::vector<Phase>& phases, size_t threads);

}  // namespace flow

#endif  // FLOW_KERNELS_PHASES_H_
