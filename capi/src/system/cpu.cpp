#include "system/cpu.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "system/amx.h"
#include "text.h"

namespace flow_engine {
namespace {

using Flags = std::set<std::string>;

// What follows the colon of the first line of /proc/cpuinfo that starts with one of two words.
std::string cpu_info(const std::string& word, const std::string& other) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(word, 0) != 0 && line.rfind(other, 0) != 0) continue;
    return one_line(line.substr(std::min(line.size(), line.find(':') + 1)));
  }
  return "";
}

std::string limit() {
  const char* const variable = std::getenv("ONEDNN_MAX_CPU_ISA");
  std::string name = variable == nullptr ? "" : variable;
  for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

// The flags that decide how oneDNN computes int8 and that a limit leaves.
Flags left_by(const std::string& limit) {
  const Flags vnni = {"avx2", "avx512bw", "avx512_vnni"};
  if (limit == "SSE41" || limit == "AVX") return {};
  if (limit == "AVX2") return {"avx2"};
  if (limit == "AVX512_CORE") return {"avx2", "avx512bw"};
  if (limit == "AVX2_VNNI" || limit == "AVX2_VNNI_2") return {"avx2", "avx_vnni"};
  for (const char* const name :
       {"AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10_1_512"}) {
    if (limit == name) return vnni;
  }
  return {"avx2", "avx512bw", "avx_vnni", "avx512_vnni", "amx_tile"};
}

Flags listed_flags() {
  std::istringstream words(cpu_info("flags", "Features"));
  Flags flags;
  for (std::string word; words >> word;) flags.insert(word);
  return flags;
}

}  // namespace

std::string cpu_model() {
  const std::string name = cpu_info("model name", "Model");
  return name.empty() ? "this CPU" : name;
}

std::string int8_instructions() {
  const Flags listed = listed_flags(), left = left_by(limit());
  const auto has = [&](const char* flag) { return listed.count(flag) > 0 && left.count(flag) > 0; };
  if (has("amx_tile")) return "AMX";
  if (has("avx_vnni") || has("avx512_vnni")) return "VNNI";
  if (!has("avx2")) return "";
  return has("avx512bw") ? "AVX-512" : "AVX2";
}

std::string vnni_fault() {
  const std::string instructions = int8_instructions();
  if (instructions == "AMX" || instructions == "VNNI") return "";
  const Flags listed = listed_flags();
  const bool has_vnni = listed.count("avx_vnni") > 0 || listed.count("avx512_vnni") > 0;
  return concat(cpu_model(), " has no VNNI",
                has_vnni ? " under ONEDNN_MAX_CPU_ISA=" + limit() : std::string(),
                ", so int8 sums would saturate");
}

std::string amx_fault() {
  if (int8_instructions() != "AMX" || runs_amx()) return "";
  return concat(cpu_model(), " lists AMX but does not execute it; set ",
                "ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16 before the process starts");
}

}  // namespace flow_engine
