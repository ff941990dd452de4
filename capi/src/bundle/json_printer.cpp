#include <algorithm>
#include <cstdio>

#include "bundle/json.h"
#include "text.h"

namespace flow_engine {
namespace {

using Kind = Json::Kind;

std::string json_string(const std::string& text) {
  std::string quoted = "\"";
  for (const char32_t point : code_points(text)) {
    const size_t known = std::u32string_view(U"\"\\\b\f\n\r\t").find(point);
    char escaped[16] = "";
    if (known != std::u32string_view::npos) {
      std::snprintf(escaped, sizeof escaped, "\\%c", "\"\\bfnrt"[known]);
    } else if (point >= 0x10000) {
      const unsigned rest = point - 0x10000;
      std::snprintf(escaped, sizeof escaped, "\\u%04x\\u%04x", 0xD800 + (rest >> 10),
                    0xDC00 + (rest & 0x3FF));
    } else if (point < 0x20 || point > 0x7E) {
      std::snprintf(escaped, sizeof escaped, "\\u%04x", static_cast<unsigned>(point));
    } else {
      quoted += static_cast<char>(point);
    }
    quoted += escaped;
  }
  return quoted + '"';
}

// The ends of a text that is too long: as reprlib.
std::string shortened(const std::string& text, size_t limit) {
  const std::u32string points = code_points(text);
  if (points.size() <= limit) return text;
  const size_t head = (limit - 3) / 2, tail = limit - 3 - head;
  return utf8(points.substr(0, head)) + "..." + utf8(points.substr(points.size() - tail));
}

std::string repr_at(const Json& value, int level);

std::string list_repr(const std::vector<Json>& items, int level) {
  constexpr size_t kMost = 6;
  if (level <= 0 && !items.empty()) return "[...]";
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(items.size(), kMost); ++i) {
    parts.push_back(repr_at(items[i], level - 1));
  }
  if (items.size() > kMost) parts.emplace_back("...");
  return "[" + join(parts, ", ") + "]";
}

std::string object_repr(std::vector<std::pair<std::string, Json>> fields, int level) {
  constexpr size_t kMost = 4;
  if (fields.empty()) return "{}";
  if (level <= 0) return "{...}";
  std::sort(fields.begin(), fields.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(fields.size(), kMost); ++i) {
    parts.push_back(short_repr(fields[i].first) + ": " + repr_at(fields[i].second, level - 1));
  }
  if (fields.size() > kMost) parts.emplace_back("...");
  return "{" + join(parts, ", ") + "}";
}

std::string repr_at(const Json& value, int level) {
  switch (value.kind) {
    case Kind::kNull:
      return "None";
    case Kind::kText:
      return short_repr(value.text);
    case Kind::kList:
      return list_repr(value.items, level);
    case Kind::kObject:
      return object_repr(value.fields, level);
    case Kind::kInteger:
      return shortened(value.text, 40);
    default:
      return shortened(value.text, 30);
  }
}

}  // namespace

std::string compact(const Json& value, const std::string& left_out) {
  std::vector<std::string> parts;
  switch (value.kind) {
    case Kind::kNull:
      return "null";
    case Kind::kFalse:
      return "false";
    case Kind::kTrue:
      return "true";
    case Kind::kText:
      return json_string(value.text);
    case Kind::kList:
      for (const Json& item : value.items) parts.push_back(compact(item));
      return "[" + join(parts, ",") + "]";
    case Kind::kObject:
      for (const auto& [key, field] : value.fields) {
        if (key != left_out) parts.push_back(json_string(key) + ":" + compact(field));
      }
      return "{" + join(parts, ",") + "}";
    default:
      return value.text == "inf" ? "Infinity" : value.text == "-inf" ? "-Infinity" : value.text;
  }
}

std::string short_repr(const Json& value) { return repr_at(value, 6); }

// Python's text[len(text) - count:], of a shorter text, too.
static std::u32string tail(const std::u32string& text, size_t count) {
  if (text.size() >= count) return text.substr(text.size() - count);
  return text.substr(std::max(2 * text.size(), count) - count);
}

std::string short_repr(const std::string& text) {
  constexpr size_t kLimit = 30, kHead = 13, kTail = 14;
  const std::u32string points = code_points(text);
  const std::string start = repr(utf8(points.substr(0, kLimit)));
  if (code_points(start).size() <= kLimit) return start;
  const std::u32string ends =
      code_points(repr(utf8(points.substr(0, kHead) + tail(points, kTail))));
  return utf8(ends.substr(0, kHead)) + "..." + utf8(tail(ends, kTail));
}

std::string short_repr(const std::vector<std::string>& texts) {
  std::vector<Json> items;
  for (const std::string& text : texts) items.push_back({Kind::kText, text, {}, {}});
  return list_repr(items, 6);
}

}  // namespace flow_engine
