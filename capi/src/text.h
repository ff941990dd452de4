// Texts of messages: as engine/errors.py and as Python's repr.

#ifndef FLOW_ENGINE_TEXT_H_
#define FLOW_ENGINE_TEXT_H_

#include <locale>
#include <sstream>
#include <string>
#include <vector>

namespace flow_engine {

// All arguments as one string, numbers as in Python whatever the program's locale.
template <typename... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  out.imbue(std::locale::classic());
  (out << ... << parts);
  return out.str();
}

std::string join(const std::vector<std::string>& parts, const char* separator);

// UTF-8 to code points and back; lone surrogates, which JSON can escape, are kept.
std::u32string code_points(const std::string& utf8);
std::string utf8(const std::u32string& text);

// As Python's repr of a str, with quotes.
std::string repr(const std::string& text);
// As Python's list of str.
std::string repr(const std::vector<std::string>& texts);

// Whether no character steers a terminal or is invisible: nearly Python's str.isprintable, which
// also refuses code points that Unicode has not assigned yet.
bool is_printable(const std::string& text);

// On one line and without a final full stop; and with one.
std::string one_line(const std::string& text);
std::string sentence(const std::string& text);

// " Did you mean 'x'?" for the known name closest to `name`, or "": as difflib.get_close_matches.
std::string nearest(const std::string& name, const std::vector<std::string>& known);

// An argument of a shell command: as shlex.quote.
std::string shell_quoted(const std::string& text);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_TEXT_H_
