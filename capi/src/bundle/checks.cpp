#include "bundle/checks.h"

#include <algorithm>
#include <cctype>

#include "bundle/number.h"
#include "bundle/schema.h"
#include "text.h"

namespace flow_engine {
namespace {

constexpr int64_t kLargestPadding = 1024;

// \w[\w.-]{0,99} in ASCII
bool is_plain_name(const std::string& name) {
  const auto is_word = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
  };
  if (name.empty() || name.size() > 100 || !is_word(name[0])) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_word(c) || c == '.' || c == '-'; });
}

void check_sha256(const std::string& text, const std::string& where) {
  const bool is_hex = text.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (text.size() == 64 && is_hex) return;
  throw SchemaError(
      concat(where, " is ", repr(text), "; expected 64 lower-case hexadecimal digits"));
}

std::string python_tuple(const Size& size) {
  return concat("(", size[0], ", ", size[1], ", ", size[2], ")");
}

void check_profile(const Profile& profile, int64_t divisor) {
  for (size_t i = 0; i < profile.min.size(); ++i) {
    if (1 <= profile.min[i] && profile.min[i] <= profile.opt[i] &&
        profile.opt[i] <= profile.max[i]) {
      continue;
    }
    throw SchemaError(concat("profile is SizeProfile(min=", python_tuple(profile.min), ", opt=",
                             python_tuple(profile.opt), ", max=", python_tuple(profile.max),
                             "); expected 1 <= min <= opt <= max"));
  }
  for (const Size* size : {&profile.min, &profile.opt, &profile.max}) {
    if ((*size)[1] % divisor == 0 && (*size)[2] % divisor == 0) continue;
    throw SchemaError(
        concat("profile has ", (*size)[1], "x", (*size)[2], "; expected multiples of ", divisor));
  }
}

void check_file(const BundleFile& file) {
  if (!is_plain_name(file.name) || file.name == "manifest.json") {
    throw SchemaError(
        concat("files has ", repr(file.name), "; expected a plain file name beside the manifest"));
  }
  check_sha256(file.sha256, concat("files.", file.name, ".sha256"));
  if (file.bytes < 1) {
    throw SchemaError(
        concat("files.", file.name, ".bytes is ", file.bytes, "; expected at least 1"));
  }
  if (file.precision.empty() != (file.role == "plugin")) {
    throw SchemaError(concat("files.", file.name, ".precision is ",
                             file.precision.empty() ? "None" : file.precision,
                             "; expected a precision for each file with computations, None for a "
                             "plugin"));
  }
}

void check_recurrence(const Manifest& manifest) {
  if (manifest.recurrence &&
      !(manifest.recurrence->iterations > 0 && manifest.recurrence->stride > 0)) {
    const Recurrence& updates = *manifest.recurrence;
    throw SchemaError(concat("recurrence is Recurrence(iterations=", updates.iterations,
                             ", lookup=", repr(updates.lookup), ", stride=", updates.stride,
                             "); expected positive numbers"));
  }
  if (manifest.passes && *manifest.passes < 1) {
    throw SchemaError(concat("passes is ", *manifest.passes, "; expected at least 1"));
  }
}

void check_counts(const Json& content) {
  const Json* const parameters = content.find("parameters");
  if (parameters != nullptr && parameters->kind != Json::Kind::kNull &&
      std::stoll(parameters->text) < 1) {
    throw SchemaError(concat("parameters is ", parameters->text, "; expected at least 1"));
  }
  const Json* const count = content.find("operations");
  if (count == nullptr || count->kind == Json::Kind::kNull) return;
  const double gflop = float_from(count->find("gflop")->text);
  const Json &height = *count->find("height"), &width = *count->find("width");
  if (gflop > 0 && std::stoll(height.text) > 0 && std::stoll(width.text) > 0) return;
  throw SchemaError(concat("operations is OperationCount(gflop=", python_float(gflop), ", height=",
                           height.text, ", width=", width.text, "); expected positive numbers"));
}

void check_precisions(const Manifest& manifest) {
  const auto& files = manifest.files;
  const auto has = [&](const BundleFile& file) { return file.precision == manifest.precision; };
  const auto none = [](const BundleFile& file) { return file.precision.empty(); };
  if (std::any_of(files.begin(), files.end(), has) ||
      std::all_of(files.begin(), files.end(), none)) {
    return;
  }
  throw SchemaError(
      concat("precision is ", repr(manifest.precision), "; no file of the bundle has it"));
}

}  // namespace

void check_values(const Manifest& manifest, const Json& content) {
  if (!is_plain_name(manifest.network)) {
    throw SchemaError(
        concat("network is ", repr(manifest.network), "; expected a name of ASCII letters"));
  }
  for (const auto& [name, value] :
       {std::pair{"divisor", manifest.divisor}, {"smallest", manifest.smallest}}) {
    if (1 <= value && value <= kLargestPadding) continue;
    throw SchemaError(concat(name, " is ", value, "; expected 1 to ", kLargestPadding));
  }
  if (manifest.max_epe_increase && manifest.precision != "int8") {
    throw SchemaError(concat("gate belongs to int8; precision is ", repr(manifest.precision)));
  }
  check_recurrence(manifest);
  check_profile(manifest.profile, manifest.divisor);
  check_counts(content);
  if (manifest.files.empty()) throw SchemaError("files is empty; expected at least one model file");
  for (const BundleFile& file : manifest.files) check_file(file);
  check_precisions(manifest);
  check_sha256(content.find("weights")->find("sha256")->text, "weights.sha256");
}

}  // namespace flow_engine
