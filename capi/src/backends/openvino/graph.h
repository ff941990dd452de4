// Changes of a graph before OpenVINO compiles it:
// engine/backends/openvino/{updates,resizes,precision,int8,operators}.py. OpenVINO's C interface
// has none of what they need, its C++ interface has.

#ifndef FLOW_ENGINE_BACKENDS_OPENVINO_GRAPH_H_
#define FLOW_ENGINE_BACKENDS_OPENVINO_GRAPH_H_

#include <cstdint>
#include <memory>
#include <openvino/core/model.hpp>
#include <optional>
#include <string>

namespace flow_engine {

using Graph = std::shared_ptr<ov::Model>;

// Replaces each Loop by copies of its body and each If by a branch: OpenVINO's CPU plugin computes
// Loops wrongly, and slower. iterations: another number of turns than the graph's own.
void write_out_loops(const Graph& model, std::optional<int64_t> iterations);

// Throws std::runtime_error unless all constant scales and sizes of resizes are positive: OpenVINO
// 2026.4 accepts a scale of -1, which ONNX forbids, and then writes outside its memory.
void check_resizes(const Graph& model);

// Makes float16 tensors float32, which OpenVINO's CPU plugin computes with anyway: all compilations
// then share the constants.
void make_float32(const Graph& model);

// Removes the quantisation that this CPU computes wrongly or slower; returns what the model
// computes in. Throws BackendError: the CPU would compute the model wrongly.
std::string fit_to_cpu(const Graph& model);

// Puts operators of this project, which have a kernel, in place of the standard ones that a model
// has in their place. Throws std::runtime_error or ov::Exception: its metadata do not fit it.
void place_operators(const Graph& model);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BACKENDS_OPENVINO_GRAPH_H_
