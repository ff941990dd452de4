#include "text.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iterator>

namespace flow_engine {

std::string join(const std::vector<std::string>& parts, const char* separator) {
  std::string all;
  for (size_t i = 0; i < parts.size(); ++i) all += (i == 0 ? "" : separator) + parts[i];
  return all;
}

std::u32string code_points(const std::string& utf8) {
  std::u32string text;
  for (size_t i = 0; i < utf8.size();) {
    const auto first = static_cast<unsigned char>(utf8[i]);
    const size_t size = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    char32_t point = size == 1 ? first : first & (0x7Fu >> size);
    for (size_t k = 1; k < size && i + k < utf8.size(); ++k)
      point = point << 6 | (utf8[i + k] & 63);
    text += point;
    i += size;
  }
  return text;
}

std::string utf8(const std::u32string& text) {
  std::string bytes;
  for (const char32_t point : text) {
    if (point < 0x80) {
      bytes += static_cast<char>(point);
      continue;
    }
    const int more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    bytes += static_cast<char>((0xF00 >> (more + 1) & 0xFF) | point >> 6 * more);
    for (int k = more - 1; k >= 0; --k) bytes += static_cast<char>(0x80 | (point >> 6 * k & 63));
  }
  return bytes;
}

static bool is_printable(char32_t point) {
  struct Range {
    char32_t first, last;
  };
  // Categories Cc, Cf, Cs, Co, Zl, Zp and Zs (but for the space) of Unicode 15.
  static const Range hidden[] = {
      {0x00, 0x1F},       {0x7F, 0xA0},       {0xAD, 0xAD},        {0x600, 0x605},
      {0x61C, 0x61C},     {0x6DD, 0x6DD},     {0x70F, 0x70F},      {0x890, 0x891},
      {0x8E2, 0x8E2},     {0x1680, 0x1680},   {0x180E, 0x180E},    {0x2000, 0x200F},
      {0x2028, 0x202F},   {0x205F, 0x206F},   {0x3000, 0x3000},    {0xD800, 0xF8FF},
      {0xFEFF, 0xFEFF},   {0xFFF0, 0xFFFB},   {0xFFFE, 0xFFFF},    {0x110BD, 0x110BD},
      {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3},  {0x1D173, 0x1D17A},
      {0xE0000, 0xE00FF}, {0xE01F0, 0xE0FFF}, {0xF0000, 0x10FFFF},
  };
  return std::none_of(std::begin(hidden), std::end(hidden), [point](const Range& range) {
    return range.first <= point && point <= range.last;
  });
}

bool is_printable(const std::string& text) {
  const std::u32string points = code_points(text);
  return std::all_of(points.begin(), points.end(), [](char32_t p) { return is_printable(p); });
}

std::string repr(const std::string& text) {
  const bool has_single = text.find('\'') != std::string::npos;
  const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
  std::string quoted(1, quote);
  for (const char32_t point : code_points(text)) {
    char escaped[16] = "";
    if (point == U'\\' || point == static_cast<char32_t>(quote)) {
      std::snprintf(escaped, sizeof escaped, "\\%c", static_cast<char>(point));
    } else if (point == U'\n' || point == U'\r' || point == U'\t') {
      std::snprintf(escaped, sizeof escaped, "\\%c",
                    point == U'\n'   ? 'n'
                    : point == U'\r' ? 'r'
                                     : 't');
    } else if (is_printable(point)) {
      quoted += utf8({point});
      continue;
    } else {
      const char* const form = point < 0x100 ? "\\x%02x" : point < 0x10000 ? "\\u%04x" : "\\U%08x";
      std::snprintf(escaped, sizeof escaped, form, static_cast<unsigned>(point));
    }
    quoted += escaped;
  }
  return quoted + quote;
}

std::string repr(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(repr(text));
  return "[" + join(quoted, ", ") + "]";
}

std::string one_line(const std::string& text) {
  std::istringstream words(text);
  std::string line, word;
  while (words >> word) line += (line.empty() ? "" : " ") + word;
  if (!line.empty() && line.back() == '.') line.pop_back();
  return line;
}

std::string sentence(const std::string& text) {
  const bool ends = !text.empty() && std::string(".?!").find(text.back()) != std::string::npos;
  return ends ? text : text + ".";
}

// Characters in the blocks that difflib.SequenceMatcher matches: the longest common block, the
// first of several, then those on either side of it.
static size_t matches(const std::u32string& a, const std::u32string& b) {
  size_t best = 0, at_a = 0, at_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t j = 0; j < b.size(); ++j) {
      size_t n = 0;
      while (i + n < a.size() && j + n < b.size() && a[i + n] == b[j + n]) ++n;
      if (n > best) best = n, at_a = i, at_b = j;
    }
  }
  if (best == 0) return 0;
  return matches(a.substr(0, at_a), b.substr(0, at_b)) + best +
         matches(a.substr(at_a + best), b.substr(at_b + best));
}

std::string nearest(const std::string& name, const std::vector<std::string>& known) {
  constexpr double kLeast = 0.6;  // of difflib.get_close_matches
  const std::u32string word = code_points(name);
  double best = 0;
  std::string found;
  for (const std::string& candidate : known) {
    const std::u32string text = code_points(candidate);
    const double ratio = 2.0 * static_cast<double>(matches(text, word)) /
                         static_cast<double>(std::max<size_t>(1, text.size() + word.size()));
    if (ratio < kLeast || ratio < best || (ratio == best && candidate < found)) continue;
    best = ratio;
    found = candidate;
  }
  return found.empty() ? "" : concat(" Did you mean ", repr(found), "?");
}

std::string shell_quoted(const std::string& text) {
  const auto is_safe = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string("@%+=:,./-_").find(c) != std::string::npos;
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), is_safe)) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\"'\"'") : std::string(1, c);
  return quoted + "'";
}

}  // namespace flow_engine
