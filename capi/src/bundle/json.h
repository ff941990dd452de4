// Strict JSON: a repeated key, NaN and infinity are errors. Numbers keep their text, because a
// manifest's own SHA-256 is that of Python's spelling (engine/bundle/manifest.py).

#ifndef FLOW_ENGINE_BUNDLE_JSON_H_
#define FLOW_ENGINE_BUNDLE_JSON_H_

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace flow_engine {

struct Json {
  enum class Kind { kNull, kFalse, kTrue, kInteger, kNumber, kText, kList, kObject };

  Kind kind = Kind::kNull;
  std::string text;  // of a text, UTF-8; of an integer or number as Python prints it
  std::vector<Json> items;
  std::vector<std::pair<std::string, Json>> fields;  // in the file's order

  // The field's value; null: it has none.
  const Json* find(const std::string& key) const;
};

struct JsonError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws JsonError with the messages of Python's json.
Json json_from(const std::string& text);

// As Python's json.dumps(value, separators=(",", ":")), without the field `left_out` of `value`.
std::string compact(const Json& value, const std::string& left_out = "");

// As Python's reprlib.repr: shortened.
std::string short_repr(const Json& value);
std::string short_repr(const std::string& text);
std::string short_repr(const std::vector<std::string>& texts);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BUNDLE_JSON_H_
