#include <algorithm>

#include "bundle/json.h"
#include "bundle/number.h"
#include "text.h"

namespace flow_engine {
namespace {

using Kind = Json::Kind;

constexpr int kDeepest = 900;  // Python's parser ends at its recursion limit of 1000

class Parser {
 public:
  explicit Parser(const std::string& text) : text_(code_points(text)) {}

  Json document() {
    if (!text_.empty() && text_[0] == 0xFEFF) {
      fail("Unexpected UTF-8 BOM (decode using utf-8-sig)", 0);
    }
    skip_spaces();
    Json value = any(0);
    skip_spaces();
    if (at_ != text_.size()) fail("Extra data", at_);
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& what, size_t at) const {
    const auto end = text_.begin() + static_cast<std::ptrdiff_t>(at);
    const auto line = 1 + std::count(text_.begin(), end, U'\n');
    const size_t last = at == 0 ? std::u32string::npos : text_.rfind(U'\n', at - 1);
    const size_t column = last == std::u32string::npos ? at + 1 : at - last;
    throw JsonError(concat(what, ": line ", line, " column ", column, " (char ", at, ")"));
  }

  char32_t peek() const { return at_ < text_.size() ? text_[at_] : 0; }

  void skip_spaces() {
    while (at_ < text_.size() &&
           std::u32string_view(U" \t\n\r").find(text_[at_]) != std::u32string_view::npos)
      ++at_;
  }

  bool skip(const char* word) {
    const std::u32string expected = code_points(word);
    if (text_.compare(at_, expected.size(), expected) != 0) return false;
    at_ += expected.size();
    return true;
  }

  Json any(int depth) {
    if (depth > kDeepest) throw JsonError("it is nested too deeply");
    if (peek() == U'{') return object(depth);
    if (peek() == U'[') return list(depth);
    if (peek() == U'"') return {Kind::kText, string(), {}, {}};
    if (skip("null")) return {};
    if (skip("true")) return {Kind::kTrue, "True", {}, {}};
    if (skip("false")) return {Kind::kFalse, "False", {}, {}};
    for (const char* const name : {"NaN", "Infinity", "-Infinity"}) {
      if (skip(name)) throw JsonError(concat(name, " is not a JSON number"));
    }
    return number();
  }

  Json object(int depth) {
    Json value{Kind::kObject, "", {}, {}};
    ++at_;
    skip_spaces();
    if (peek() == U'}') return ++at_, value;
    while (true) {
      if (peek() != U'"') fail("Expecting property name enclosed in double quotes", at_);
      std::string key = string();
      skip_spaces();
      if (peek() != U':') fail("Expecting ':' delimiter", at_);
      ++at_;
      skip_spaces();
      value.fields.emplace_back(std::move(key), any(depth + 1));
      skip_spaces();
      if (peek() == U'}') break;
      if (peek() != U',') fail("Expecting ',' delimiter", at_);
      ++at_;
      skip_spaces();
    }
    ++at_;
    refuse_repeated(value);
    return value;
  }

  static void refuse_repeated(const Json& object) {
    std::vector<std::string> keys;
    for (const auto& field : object.fields) keys.push_back(field.first);
    std::vector<std::string> sorted = keys;
    std::sort(sorted.begin(), sorted.end());
    if (std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end()) return;
    throw JsonError("a key appears twice among " + short_repr(keys));
  }

  Json list(int depth) {
    Json value{Kind::kList, "", {}, {}};
    ++at_;
    skip_spaces();
    if (peek() == U']') return ++at_, value;
    while (true) {
      value.items.push_back(any(depth + 1));
      skip_spaces();
      if (peek() == U']') break;
      if (peek() != U',') fail("Expecting ',' delimiter", at_);
      ++at_;
      skip_spaces();
    }
    ++at_;
    return value;
  }

  std::string string() {
    const size_t start = at_++;
    std::u32string found;
    while (true) {
      if (at_ >= text_.size()) fail("Unterminated string starting at", start);
      const char32_t c = text_[at_++];
      if (c == U'"') return utf8(found);
      if (c < 0x20) fail("Invalid control character at", at_ - 1);
      found += c == U'\\' ? escaped(start) : c;
    }
  }

  char32_t escaped(size_t start) {
    if (at_ >= text_.size()) fail("Unterminated string starting at", start);
    const char32_t c = text_[at_++];
    if (c == U'u') return unicode();
    const size_t known = std::u32string_view(U"\"\\/bfnrt").find(c);
    if (known == std::u32string_view::npos) fail("Invalid \\escape", at_ - 2);
    return U"\"\\/\b\f\n\r\t"[known];
  }

  char32_t unicode() {
    const char32_t first = four_digits();
    const size_t before = at_;
    if (0xD800 <= first && first < 0xDC00 && skip("\\u")) {
      const char32_t second = four_digits();
      if (0xDC00 <= second && second < 0xE000) {
        return 0x10000 + ((first - 0xD800) << 10 | (second - 0xDC00));
      }
      at_ = before;
    }
    return first;
  }

  char32_t four_digits() {
    char32_t value = 0;
    for (size_t k = 0; k < 4; ++k) {
      const char32_t c = at_ + k < text_.size() ? text_[at_ + k] : 0;
      const size_t digit = std::u32string_view(U"0123456789abcdefABCDEF").find(c);
      if (digit == std::u32string_view::npos) fail("Invalid \\uXXXX escape", at_ - 1);
      value = value << 4 | static_cast<char32_t>(digit < 16 ? digit : digit - 6);
    }
    at_ += 4;
    return value;
  }

  bool digits() {
    const size_t start = at_;
    while (U'0' <= peek() && peek() <= U'9') ++at_;
    return at_ > start;
  }

  Json number() {
    const size_t start = at_;
    if (peek() == U'-') ++at_;
    const bool is_zero = peek() == U'0';
    if (is_zero ? (++at_, false) : !digits()) fail("Expecting value", start);
    const size_t whole = at_;
    if (peek() == U'.') ++at_, at_ = digits() ? at_ : whole;
    const size_t fraction = at_;
    if (peek() == U'e' || peek() == U'E') {
      ++at_;
      if (peek() == U'+' || peek() == U'-') ++at_;
      if (!digits()) at_ = fraction;
    }
    const std::string text = utf8(text_.substr(start, at_ - start));
    if (at_ == whole) return {Kind::kInteger, text == "-0" ? "0" : text, {}, {}};
    return {Kind::kNumber, python_float(float_from(text)), {}, {}};
  }

  const std::u32string text_;
  size_t at_ = 0;
};

// Throws JsonError unless all of the text is UTF-8.
void check_utf8(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t k) {
      return static_cast<unsigned char>(i + k < text.size() ? text[i + k] : 0);
    };
    const unsigned first = byte(0), second = byte(1);
    const size_t size = first < 0x80   ? 1
                        : first < 0xC2 ? 0
                        : first < 0xE0 ? 2
                        : first < 0xF0 ? 3
                        : first < 0xF5 ? 4
                                       : 0;
    bool fits = size > 0;
    for (size_t k = 1; k < size; ++k) fits &= (byte(k) & 0xC0) == 0x80;
    if (first == 0xE0) fits &= second >= 0xA0;
    if (first == 0xED) fits &= second < 0xA0;
    if (first == 0xF0) fits &= second >= 0x90;
    if (first == 0xF4) fits &= second < 0x90;
    if (!fits) throw JsonError(concat("it is not UTF-8 at byte ", i));
    i += size;
  }
}

}  // namespace

const Json* Json::find(const std::string& key) const {
  for (const auto& [name, value] : fields) {
    if (name == key) return &value;
  }
  return nullptr;
}

Json json_from(const std::string& text) {
  check_utf8(text);
  return Parser(text).document();
}

}  // namespace flow_engine
