// Numbers as Python reads and prints them, whatever the program's locale: a decimal comma would
// change a manifest's SHA-256.

#ifndef FLOW_ENGINE_BUNDLE_NUMBER_H_
#define FLOW_ENGINE_BUNDLE_NUMBER_H_

#include <string>

namespace flow_engine {

// As float(text) of a JSON number; infinity beyond the largest float64.
double float_from(const std::string& text);

// As repr(float): the shortest digits that give the same float64.
std::string python_float(double value);

// As f"{value:g}".
std::string general(double value);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BUNDLE_NUMBER_H_
