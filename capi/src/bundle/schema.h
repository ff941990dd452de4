// The fields of manifest.json: engine/bundle/schema.py and schema1.py as a table.

#ifndef FLOW_ENGINE_BUNDLE_SCHEMA_H_
#define FLOW_ENGINE_BUNDLE_SCHEMA_H_

#include <stdexcept>
#include <string>

#include "bundle/json.h"

namespace flow_engine {

// A fault in the manifest's content; the text has no path.
struct SchemaError : std::runtime_error {
  explicit SchemaError(const std::string& text);
};

// Throws SchemaError unless a manifest of schema 2, without its own SHA-256, or of schema 1 has all
// fields, no other ones, and values of their types. As engine/bundle/strict_json.py.
void check_schema(const Json& manifest, int schema);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BUNDLE_SCHEMA_H_
