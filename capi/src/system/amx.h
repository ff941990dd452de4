#ifndef FLOW_ENGINE_SYSTEM_AMX_H_
#define FLOW_ENGINE_SYSTEM_AMX_H_

namespace flow_engine {

// Whether a child process survives AMX instructions. Tried once.
bool runs_amx();

}  // namespace flow_engine

#endif  // FLOW_ENGINE_SYSTEM_AMX_H_
