#ifndef FLOW_ENGINE_SYSTEM_THREADS_H_
#define FLOW_ENGINE_SYSTEM_THREADS_H_

namespace flow_engine {

// CPUs in the process's affinity, limited by its cgroup's quota: engine/system/threads.py.
int available_threads();

// CPUs of the machine.
int cpu_count();

}  // namespace flow_engine

#endif  // FLOW_ENGINE_SYSTEM_THREADS_H_
