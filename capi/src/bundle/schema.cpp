#include "bundle/schema.h"

#include <algorithm>
#include <limits>

#include "text.h"

namespace flow_engine {

SchemaError::SchemaError(const std::string& text) : std::runtime_error(sentence(text)) {}

namespace {

using Kind = Json::Kind;

struct Field;

// What a value has to be.
struct Type {
  enum Form { kText, kInteger, kNumber, kWord, kList, kMap, kObject };

  Form form;
  bool nullable = false;
  std::vector<std::string> words = {};         // of kWord
  const Type* element = nullptr;               // of kList and kMap
  size_t count = 0;                            // of kList; 0: any
  const std::vector<Field>* fields = nullptr;  // of kObject
};

struct Field {
  const char* name;
  Type type;
  bool optional = false;
};

const Type kText{Type::kText}, kInteger{Type::kInteger}, kNumber{Type::kNumber};

Type nullable(Type type) { return type.nullable = true, type; }
Type object_of(const std::vector<Field>& fields) {
  return {Type::kObject, false, {}, nullptr, 0, &fields};
}
Type list_of(const Type& element, size_t count = 0) {
  return {Type::kList, false, {}, &element, count};
}
Type map_of(const Type& element) { return {Type::kMap, false, {}, &element}; }

const Type kPrecision{Type::kWord, false, {"fp32", "fp16", "int8"}};
const Type kRefine{Type::kWord, false, {"variational"}};
const Type kSize = list_of(kInteger, 3);
const std::vector<Field> kProfile = {{"min", kSize}, {"opt", kSize}, {"max", kSize}};
const std::vector<Field> kOperations = {
    {"gflop", kNumber}, {"height", kInteger}, {"width", kInteger}};
const std::vector<Field> kPreprocessing = {{"color_order", {Type::kWord, false, {"RGB"}}},
                                           {"value_range", list_of(kInteger, 2)},
                                           {"normalisation", kText},
                                           {"flow_scale", kNumber},
                                           {"flow_unit", {Type::kWord, false, {"pixels"}}}};
const std::vector<Field> kFile = {
    {"role", {Type::kWord, false, {"network", "features", "match", "plan", "plugin"}}},
    {"precision", nullable(kPrecision)},
    {"bytes", kInteger},
    {"sha256", kText},
    {"tool", kText},
    {"compute_capability", nullable(kText)}};
const std::vector<Field> kParity = {{"backend", kText},
                                    {"status", {Type::kWord, false, {"ok", "not run"}}},
                                    {"reason", nullable(kText)},
                                    {"mean_px", nullable(kNumber)},
                                    {"max_px", nullable(kNumber)},
                                    {"epe_change", nullable(kNumber)},
                                    {"pairs", kText}};
const std::vector<Field> kGateResult = {{"backend", kText},
                                        {"pairs", kText},
                                        {"epe_before", kNumber},
                                        {"epe", kNumber},
                                        {"standard_error", nullable(kNumber)},
                                        {"mean_px", kNumber},
                                        {"p99_px", kNumber}};
const Type kGateResultType = object_of(kGateResult);
const std::vector<Field> kGate = {{"max_epe_increase", kNumber},
                                  {"calibration", kText},
                                  {"in_float", list_of(kText)},
                                  {"results", list_of(kGateResultType)}};
const std::vector<Field> kRecurrence = {{"iterations", kInteger},
                                        {"lookup", {Type::kWord, false, {"volume", "on_the_fly"}}},
                                        {"stride", kInteger}};
const std::vector<Field> kWeights = {{"sha256", kText},
                                     {"source", kText},
                                     {"licence", kText},
                                     {"epe", map_of(kNumber)},
                                     {"facts", map_of(kText), true}};
const Type kFileType = object_of(kFile), kParityType = object_of(kParity);

const std::vector<Field> kManifest = {{"schema", kInteger},
                                      {"network", kText},
                                      {"precision", kPrecision},
                                      {"parameters", nullable(kInteger)},
                                      {"operations", nullable(object_of(kOperations))},
                                      {"preprocessing", nullable(object_of(kPreprocessing))},
                                      {"layout", {Type::kWord, false, {"NHWC"}}},
                                      {"divisor", kInteger},
                                      {"profile", object_of(kProfile)},
                                      {"files", map_of(kFileType)},
                                      {"parity", list_of(kParityType)},
                                      {"gate", nullable(object_of(kGate))},
                                      {"weights", object_of(kWeights)},
                                      {"smallest", kInteger, true},
                                      {"recurrence", nullable(object_of(kRecurrence)), true},
                                      {"passes", nullable(kInteger), true},
                                      {"refine", nullable(kRefine), true}};

const std::vector<Field> kFile1 = {{"bytes", kInteger},
                                   {"sha256", kText},
                                   {"tool", kText},
                                   {"compute_capability", nullable(kText)}};
const Type kFile1Type = object_of(kFile1);
const std::vector<Field> kManifest1 = {{"schema", kInteger},
                                       {"network", kText},
                                       {"precision", kPrecision},
                                       {"layout", {Type::kWord, false, {"NHWC"}}},
                                       {"divisor", kInteger},
                                       {"profile", object_of(kProfile)},
                                       {"files", map_of(kFile1Type)},
                                       {"parity", list_of(kParityType)},
                                       {"gate", nullable(object_of(kGate))},
                                       {"weights", object_of(kWeights)}};

void refuse(const std::string& where, const Json& value, const std::string& expected) {
  throw SchemaError(concat(where, " is ", short_repr(value), "; expected ", expected));
}

void check_text(const std::string& text, const std::string& where) {
  constexpr size_t kLongest = 10000;
  if (is_printable(text) && code_points(text).size() <= kLongest) return;
  throw SchemaError(concat(where, " is ", short_repr(text),
                           "; expected printable characters, at most ", kLongest));
}

void refuse_keys(const char* fault, std::vector<std::string> keys, const std::string& where,
                 const std::vector<std::string>& known) {
  if (keys.empty()) return;
  std::sort(keys.begin(), keys.end());
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min<size_t>(3, keys.size()); ++i)
    names.push_back(short_repr(keys[i]));
  const std::string first = utf8(code_points(keys[0]).substr(0, 100));
  throw SchemaError(concat(fault, " key ", join(names, ", "), keys.size() > 3 ? ", ..." : "",
                           where.empty() ? "" : " in ", where, ".", nearest(first, known)));
}

void check(const Type& type, const Json& value, const std::string& where);

void check_object(const std::vector<Field>& fields, const Json& value, const std::string& where) {
  if (value.kind != Kind::kObject)
    refuse(where.empty() ? "the manifest" : where, value, "an object");
  std::vector<std::string> known, unknown, missing;
  for (const Field& field : fields) {
    known.emplace_back(field.name);
    if (!field.optional && value.find(field.name) == nullptr) missing.emplace_back(field.name);
  }
  for (const auto& item : value.fields) {
    if (std::find(known.begin(), known.end(), item.first) == known.end())
      unknown.push_back(item.first);
  }
  refuse_keys("unknown", unknown, where, known);
  refuse_keys("missing", missing, where, {});
  for (const auto& [key, item] : value.fields) {
    const auto index = std::find(known.begin(), known.end(), key) - known.begin();
    check(fields[static_cast<size_t>(index)].type, item, (where.empty() ? "" : where + ".") + key);
  }
}

void check_list(const Type& type, const Json& value, const std::string& where) {
  if (value.kind != Kind::kList) refuse(where, value, "a list");
  if (type.count != 0 && value.items.size() != type.count) {
    throw SchemaError(concat(where, " has ", value.items.size(), " items; expected ", type.count));
  }
  for (size_t i = 0; i < value.items.size(); ++i) {
    check(*type.element, value.items[i], concat(where, "[", i, "]"));
  }
}

void check_map(const Type& type, const Json& value, const std::string& where) {
  if (value.kind != Kind::kObject) refuse(where, value, "an object");
  for (const auto& field : value.fields) check_text(field.first, "a key of " + where);
  for (const auto& [key, item] : value.fields) check(*type.element, item, where + "." + key);
}

void check_word(const Type& type, const Json& value, const std::string& where) {
  const bool is_text = value.kind == Kind::kText;
  const auto& words = type.words;
  if (is_text && std::find(words.begin(), words.end(), value.text) != words.end()) return;
  throw SchemaError(concat(where, " is ", short_repr(value), "; expected one of ", repr(words), ".",
                           is_text ? nearest(value.text, words) : ""));
}

bool is_64_bits(const std::string& integer) {
  try {
    static_cast<void>(std::stoll(integer));
    return true;
  } catch (const std::out_of_range&) {
    return false;
  }
}

bool is_finite(const Json& value) {
  if (value.kind != Kind::kInteger && value.kind != Kind::kNumber) return false;
  if (value.text.find("inf") != std::string::npos) return false;
  return value.text.size() < 300 || value.kind == Kind::kNumber;  // digits of the largest float64
}

void check(const Type& type, const Json& value, const std::string& where) {
  if (type.nullable && value.kind == Kind::kNull) return;
  switch (type.form) {
    case Type::kText:
      if (value.kind != Kind::kText) refuse(where, value, "a string");
      return check_text(value.text, where);
    case Type::kInteger:
      if (value.kind != Kind::kInteger) refuse(where, value, "an integer");
      if (!is_64_bits(value.text)) refuse(where, value, "an integer of 64 bits");
      return;
    case Type::kNumber:
      if (!is_finite(value)) refuse(where, value, "a finite number");
      return;
    case Type::kWord:
      return check_word(type, value, where);
    case Type::kList:
      return check_list(type, value, where);
    case Type::kMap:
      return check_map(type, value, where);
    case Type::kObject:
      return check_object(*type.fields, value, where);
  }
}

}  // namespace

void check_schema(const Json& manifest, int schema) {
  check_object(schema == 1 ? kManifest1 : kManifest, manifest, "");
}

}  // namespace flow_engine
