// Numbers as Python prints them.

#ifndef FLOW_ENGINE_BUNDLE_NUMBER_H_
#define FLOW_ENGINE_BUNDLE_NUMBER_H_

#include <string>

namespace flow_engine {

// As repr(float): the shortest digits that give the same float64.
std::string python_float(double value);

// As f"{value:g}".
std::string general(double value);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BUNDLE_NUMBER_H_
