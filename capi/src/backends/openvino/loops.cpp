#include <map>
#include <openvino/op/constant.hpp>
#include <openvino/op/if.hpp>
#include <openvino/op/loop.hpp>
#include <stdexcept>

#include "backends/graphs.h"
#include "backends/openvino/graph.h"

namespace flow_engine {
namespace {

using Output = ov::Output<ov::Node>;
using SubGraph = ov::op::util::MultiSubGraphOp;

int64_t constant_of(const std::shared_ptr<ov::Node>& node) {
  const auto constant = std::dynamic_pointer_cast<ov::op::v0::Constant>(node);
  if (constant == nullptr) throw std::runtime_error("a branch depends on no constant");
  return constant->cast_vector<int64_t>().at(0);
}

int64_t own_turns(const Graph& model) {
  for (const auto& node : model->get_ops()) {
    if (node->get_friendly_name() == kIterations) return constant_of(node);
  }
  throw std::runtime_error("it has a Loop, but no number of iterations");
}

void write_out(const std::shared_ptr<ov::op::v5::Loop>& loop, int64_t turns) {
  // What each parameter of the body reads; those that change come from the last copy's results.
  std::map<size_t, Output> sources;
  for (const auto& item : loop->get_input_descriptions()) {
    sources[item->m_body_parameter_index] = loop->input_value(item->m_input_index);
  }
  std::vector<Output> results;
  for (int64_t turn = 0; turn < turns; ++turn) {
    const auto copy = loop->get_function()->clone();
    for (const auto& [index, source] : sources) {
      copy->get_parameters()[index]->output(0).replace(source);
    }
    results.clear();
    for (const auto& result : copy->get_results()) results.push_back(result->input_value(0));
    for (const auto& item : loop->get_input_descriptions()) {
      const auto merged = std::dynamic_pointer_cast<SubGraph::MergedInputDescription>(item);
      if (merged != nullptr) {
        sources[item->m_body_parameter_index] = results[merged->m_body_value_index];
      }
    }
  }
  for (const auto& item : loop->get_output_descriptions()) {
    loop->output(item->m_output_index).replace(results[item->m_body_value_index]);
  }
}

// The condition is that the number of turns is at least another constant.
void choose(const std::shared_ptr<ov::op::v8::If>& branches, int64_t turns) {
  const int64_t least =
      constant_of(branches->input_value(0).get_node()->get_input_node_shared_ptr(1));
  const int index =
      turns >= least ? ov::op::v8::If::THEN_BODY_INDEX : ov::op::v8::If::ELSE_BODY_INDEX;
  const auto body = branches->get_function(index);
  for (const auto& item : branches->get_input_descriptions(index)) {
    body->get_parameters()[item->m_body_parameter_index]->output(0).replace(
        branches->input_value(item->m_input_index));
  }
  for (const auto& item : branches->get_output_descriptions(index)) {
    branches->output(item->m_output_index)
        .replace(body->get_results()[item->m_body_value_index]->input_value(0));
  }
}

}  // namespace

void write_out_loops(const Graph& model, std::optional<int64_t> iterations) {
  bool changed = false;
  for (const auto& node : model->get_ordered_ops()) {
    const auto loop = std::dynamic_pointer_cast<ov::op::v5::Loop>(node);
    const auto branches = std::dynamic_pointer_cast<ov::op::v8::If>(node);
    if (loop == nullptr && branches == nullptr) continue;
    const int64_t turns = iterations ? *iterations : own_turns(model);
    if (turns < 1) throw std::runtime_error("its number of iterations is not positive");
    if (loop != nullptr) write_out(loop, turns);
    if (branches != nullptr) choose(branches, turns);
    changed = true;
  }
  if (changed) model->validate_nodes_and_infer_types();
}

}  // namespace flow_engine
