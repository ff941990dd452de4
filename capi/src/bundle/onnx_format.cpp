#include "bundle/onnx_format.h"

#include <cstdint>
#include <vector>

#include "errors.h"
#include "text.h"

namespace flow_engine {
namespace {

// Messages of onnx.proto that may contain tensors. An ONNX file is a protobuf message:
// https://protobuf.dev/programming-guides/encoding/
enum Message { kNone, kModel, kTraining, kFunction, kGraph, kNode, kAttribute, kSparse, kTensor };
enum Wire { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

constexpr uint64_t kGraphField = 7;
constexpr uint64_t kDataType = 2, kExternalData = 13, kDataLocation = 14;  // of a TensorProto
constexpr uint64_t kInt8 = 3;
constexpr int kDeepestGraph = 100;  // the limit of protobuf's own parsers

// What a field of a message contains, as far as tensors may be inside.
Message inner(Message message, uint64_t field) {
  switch (message) {
    case kModel:
      return field == 7 ? kGraph : field == 20 ? kTraining : field == 25 ? kFunction : kNone;
    case kTraining:
      return field == 1 || field == 2 ? kGraph : kNone;
    case kFunction:
      return field == 7 ? kNode : field == 11 ? kAttribute : kNone;
    case kGraph:
      return field == 1 ? kNode : field == 5 ? kTensor : field == 15 ? kSparse : kNone;
    case kNode:
      return field == 5 ? kAttribute : kNone;
    case kAttribute:
      if (field == 5 || field == 10) return kTensor;
      if (field == 6 || field == 11) return kGraph;
      return field == 22 || field == 23 ? kSparse : kNone;
    case kSparse:
      return field == 1 || field == 2 ? kTensor : kNone;
    default:
      return kNone;
  }
}

struct FormatError {
  std::string text;
};

[[noreturn]] void damaged(size_t at) {
  throw FormatError{concat("is no valid ONNX: it is truncated or damaged at byte ", at)};
}

struct Part {
  Message message;
  size_t start, end;
  int depth;
};

class Check {
 public:
  explicit Check(const std::string& content) : content_(content) {}

  // Whether the model has int8 tensors.
  bool run() {
    if (content_.compare(content_.size() < 4 ? 0 : 4, 4, "ORTM") == 0) {
      throw FormatError{"is of ONNX Runtime's own format; expected ONNX"};
    }
    pending_.push_back({kModel, 0, content_.size(), 0});
    while (!pending_.empty()) {  // no recursion: files choose how deep they are
      const Part part = pending_.back();
      pending_.pop_back();
      if (part.depth > kDeepestGraph) {
        throw FormatError{
            concat("is no valid ONNX: its graphs are nested over ", kDeepestGraph, " deep")};
      }
      read(part);
    }
    if (!has_graph_) throw FormatError{"is no valid ONNX: it has no graph"};
    return has_int8_;
  }

 private:
  void read(const Part& part) {
    for (size_t at = part.start; at < part.end;) {
      const uint64_t tag = varint(at);
      const uint64_t field = tag >> 3;
      size_t first = at;
      uint64_t value = 0;
      switch (tag & 7) {
        case kLength:
          value = varint(at);
          first = at;
          if (at > part.end || value > part.end - at) damaged(first);
          at += value;
          break;
        case kVarint:
          value = varint(at);
          break;
        case kFixed32:
          at += 4;
          break;
        case kFixed64:
          at += 8;
          break;
        default:
          throw FormatError{concat("is no valid ONNX: wire type ", tag & 7, " at byte ", at)};
      }
      if (at > part.end) damaged(first);
      use(part, field, static_cast<Wire>(tag & 7), value, first, at);
    }
  }

  void use(const Part& part, uint64_t field, Wire wire, uint64_t value, size_t first, size_t last) {
    if (part.message == kTensor) {
      const uint64_t number = wire == kVarint ? value : 0;
      has_int8_ |= field == kDataType && number == kInt8;
      if (field != kExternalData && !(field == kDataLocation && number != 0)) return;
      throw FormatError{
          "has external data: a tensor that is in another file or in memory, which the manifest's "
          "hashes do not cover. Expected a model with all its tensors inside"};
    }
    const Message message = wire == kLength ? inner(part.message, field) : kNone;
    if (message == kNone) return;
    has_graph_ |= part.depth == 0 && field == kGraphField;
    pending_.push_back({message, first, last, part.depth + 1});
  }

  uint64_t varint(size_t& at) const {
    const size_t start = at;
    uint64_t value = 0;
    for (int shift = 0; shift < 70 && at < content_.size(); shift += 7) {
      const auto byte = static_cast<unsigned char>(content_[at++]);
      if (shift < 64) value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    damaged(start);
  }

  const std::string& content_;
  std::vector<Part> pending_;
  bool has_graph_ = false, has_int8_ = false;
};

}  // namespace

void check_onnx(const std::string& path, const std::string& content, const BundleFile& file) {
  bool quantised = false;
  try {
    quantised = Check(content).run();
  } catch (const FormatError& error) {
    throw BundleError(concat(path, " ", error.text, ". Build the bundle again."));
  }
  if (!quantised || file.precision == "int8") return;
  throw BundleError(concat(path, " has int8 weights; the manifest says ",
                           file.precision.empty() ? "None" : file.precision,
                           ". Build the bundle again."));
}

}  // namespace flow_engine
