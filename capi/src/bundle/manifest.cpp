#include "bundle/manifest.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "bundle/checks.h"
#include "bundle/json.h"
#include "bundle/number.h"
#include "bundle/schema.h"
#include "bundle/sha256.h"
#include "errors.h"
#include "text.h"

namespace flow_engine {
namespace {

using Kind = Json::Kind;

constexpr const char* kDigest = "sha256";  // the key with the SHA-256 of the other ones
constexpr size_t kLargest = 1 << 22;       // bytes

int64_t integer(const Json& value) { return std::stoll(value.text); }

// null: absent, or null
const Json* given(const Json& content, const char* key) {
  const Json* const value = content.find(key);
  return value == nullptr || value->kind == Kind::kNull ? nullptr : value;
}

Size size_from(const Json& value) {
  return {integer(value.items[0]), integer(value.items[1]), integer(value.items[2])};
}

// The role that schema 1 implied by a file's name.
std::string role_of(const std::string& name) {
  const auto ends = [&](const std::string& suffix) {
    return name.size() >= suffix.size() &&
           name.compare(name.size() - suffix.size(), suffix.size(), suffix) == 0;
  };
  if (name == "features.onnx" || name == "match.onnx") return name.substr(0, name.find('.'));
  if (ends(".plan") || ends(".rtx")) return "plan";
  return ends(".so") ? "plugin" : "network";
}

BundleFile file_from(const std::string& name, const Json& value, const std::string& precision) {
  const Json* const stated = value.find("role");
  const std::string role = stated == nullptr ? role_of(name) : stated->text;
  const Json* const own = given(value, "precision");
  const Json* const capability = given(value, "compute_capability");
  const bool implied = stated == nullptr && role != "plugin";
  return {name,
          role,
          implied          ? precision
          : own == nullptr ? ""
                           : own->text,
          integer(*value.find("bytes")),
          value.find("sha256")->text,
          value.find("tool")->text,
          capability == nullptr ? "" : capability->text};
}

Manifest fields_from(const Json& content) {
  Manifest manifest;
  manifest.network = content.find("network")->text;
  manifest.precision = content.find("precision")->text;
  manifest.divisor = integer(*content.find("divisor"));
  if (const Json* smallest = given(content, "smallest")) manifest.smallest = integer(*smallest);
  const Json& profile = *content.find("profile");
  manifest.profile = {size_from(*profile.find("min")), size_from(*profile.find("opt")),
                      size_from(*profile.find("max"))};
  for (const auto& [name, file] : content.find("files")->fields) {
    manifest.files.push_back(file_from(name, file, manifest.precision));
  }
  if (const Json* gate = given(content, "gate")) {
    manifest.max_epe_increase = float_from(gate->find("max_epe_increase")->text);
  }
  if (const Json* updates = given(content, "recurrence")) {
    manifest.recurrence = {integer(*updates->find("iterations")), updates->find("lookup")->text,
                           integer(*updates->find("stride"))};
  }
  if (const Json* passes = given(content, "passes")) manifest.passes = integer(*passes);
  if (const Json* refine = given(content, "refine")) manifest.refine = refine->text;
  return manifest;
}

Manifest manifest_from_json(const Json& content) {
  if (content.kind != Kind::kObject) {
    throw SchemaError(concat("the manifest is ", short_repr(content), "; expected an object"));
  }
  const Json* const schema = content.find("schema");
  const std::string version = schema == nullptr ? "2" : schema->text;
  const bool is_number = schema == nullptr || schema->kind == Kind::kInteger ||
                         (schema->kind == Kind::kNumber && version == "2.0");
  if (!is_number || (version != "1" && version != "2" && version != "2.0")) {
    throw SchemaError(
        concat("schema is ", short_repr(*schema), "; this version reads schemas 1 and 2"));
  }
  Json fields = content;
  if (version != "1") {
    const auto is_digest = [](const auto& field) { return field.first == kDigest; };
    const auto end = std::remove_if(fields.fields.begin(), fields.fields.end(), is_digest);
    fields.fields.erase(end, fields.fields.end());
  }
  check_schema(fields, version == "1" ? 1 : 2);
  const Manifest manifest = fields_from(content);
  check_values(manifest, content);
  const Json* const written = content.find(kDigest);
  if (written != nullptr &&
      (written->kind != Kind::kText || written->text != sha256_of(compact(content, kDigest)))) {
    throw SchemaError(concat("its fields do not have the SHA-256 ", short_repr(*written),
                             " that it states: it was changed after the build"));
  }
  return manifest;
}

}  // namespace

const BundleFile* Manifest::find(const std::string& name) const {
  const auto found = std::find_if(files.begin(), files.end(),
                                  [&](const BundleFile& file) { return file.name == name; });
  return found == files.end() ? nullptr : &*found;
}

bool Manifest::has_role(const std::string& role) const {
  return std::any_of(files.begin(), files.end(),
                     [&](const BundleFile& file) { return file.role == role; });
}

std::string plain_path(const std::string& path) {
  std::vector<std::string> parts;
  std::istringstream stream(path);
  for (std::string part; std::getline(stream, part, '/');) {
    if (!part.empty() && part != ".") parts.push_back(part);
  }
  const std::string root = path.rfind('/', 0) == 0 ? "/" : "";
  const std::string joined = root + join(parts, "/");
  return joined.empty() ? "." : joined;
}

std::string manifest_text(const std::string& bundle) {
  constexpr auto kPause = std::chrono::milliseconds(5);
  const std::string path = bundle + "/manifest.json";
  int fault = 0;
  for (int attempt = 0; attempt < 3; ++attempt) {  // a build may be replacing the bundle right now
    std::error_code error;
    if (std::filesystem::is_regular_file(path, error)) {
      std::ifstream stream(path, std::ios::binary);
      std::string text(kLargest + 1, '\0');
      if (stream.read(text.data(), static_cast<std::streamsize>(text.size())) || stream.eof()) {
        text.resize(static_cast<size_t>(stream.gcount()));
        return text;
      }
      fault = errno;
    } else if (error && error.value() != ENOENT && error.value() != ENOTDIR) {
      fault = error.value();
      break;
    }
    std::this_thread::sleep_for(kPause);
  }
  std::error_code ignored;
  const bool is_folder = std::filesystem::is_directory(bundle, ignored);
  const std::string found = fault != 0  ? std::strerror(fault)
                            : is_folder ? "it has no manifest.json"
                                        : "it is not a folder";
  throw BundleError(concat(bundle, " is not a bundle: ", found,
                           "; expected a folder written by `python -m export.build_engine -o "
                           "DIR`."));
}

Manifest manifest_from(const std::string& bundle, const std::string& text) {
  const std::string path = bundle + "/manifest.json";
  if (text.size() > kLargest) {
    throw BundleError(concat(path, " has over ", kLargest >> 20, " MiB; it is no manifest."));
  }
  try {
    return manifest_from_json(json_from(text));
  } catch (const JsonError& error) {
    throw BundleError(concat(path, " is not valid JSON: ", error.what(), ". Rebuild the bundle."));
  } catch (const SchemaError& error) {
    throw BundleError(concat(path, ": ", error.what(), " Rebuild the bundle with this version."));
  }
}

}  // namespace flow_engine
