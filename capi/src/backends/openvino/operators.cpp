#include "kernels/openvino/operators.h"

#include <iterator>
#include <locale>
#include <map>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "backends/graphs.h"
#include "backends/openvino/graph.h"
#include "text.h"

namespace flow_engine {
namespace {

using Output = ov::Output<ov::Node>;
using Values = std::map<std::string, Output>;

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream words(line);
  words.imbue(std::locale::classic());  // whatever the program's locale
  return {std::istream_iterator<std::string>(words), {}};
}

// words: an operator's name, its inputs, its output.
void place_operator(const std::vector<std::string>& words, Values& values) {
  ov::OutputVector tensors;
  for (size_t i = 1; i < words.size(); ++i) {
    const auto found = values.find(words[i]);
    // A pass or an update that is left out takes its tensors with it.
    if (found == values.end()) return;
    tensors.push_back(found->second);
  }
  Output output = tensors.back();
  tensors.pop_back();
  const auto node = flow::make_operator(words[0], tensors);
  if (node == nullptr) return;
  output.replace(node->output(0));
  values[words.back()] = node->output(0);
}

}  // namespace

void place_operators(const Graph& model) {
  if (!model->has_rt_info("framework", kOperators)) return;
  Values values;
  for (const auto& node : model->get_ops()) {
    for (const Output& output : node->outputs()) {
      for (const auto& name : output.get_names()) values[name] = output;
    }
  }
  std::istringstream lines(model->get_rt_info<std::string>("framework", kOperators));
  for (std::string line; std::getline(lines, line);) {
    const std::vector<std::string> words = words_of(line);
    if (words.size() < 2) {
      throw std::runtime_error(
          concat("its metadata ", repr(kOperators), " has a line of fewer than two words"));
    }
    place_operator(words, values);
  }
  model->validate_nodes_and_infer_types();  // throws if an operator's input needs its output
}

}  // namespace flow_engine
