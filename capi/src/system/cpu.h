// What this machine's CPU computes int8 with: engine/system/cpu.py.

#ifndef FLOW_ENGINE_SYSTEM_CPU_H_
#define FLOW_ENGINE_SYSTEM_CPU_H_

#include <string>

namespace flow_engine {

#if defined(__aarch64__) || defined(_M_ARM64)
constexpr bool kIsArm = true;
#else
constexpr bool kIsArm = false;
#endif

// The CPU's name where Linux gives one.
std::string cpu_model();

// "AMX", "VNNI", "AVX-512" or "AVX2", within oneDNN's limit ONEDNN_MAX_CPU_ISA; "": the CPU is not
// an x86-64 with AVX2.
std::string int8_instructions();

// The largest weight of which two products with uint8 fit in 16 bits, where AVX-512 and AVX2 sum
// them: 2 x 255 x 64 < 2^15.
constexpr int kSafeInt8Weight = 64;

// Why int8 weights beyond kSafeInt8Weight are not computed correctly; "": they are.
std::string vnni_fault();

// Why oneDNN would fail at int8; "": it would not. Some virtual machines list AMX but fault on its
// instructions: a process that executes them dies of SIGILL.
std::string amx_fault();

}  // namespace flow_engine

#endif  // FLOW_ENGINE_SYSTEM_CPU_H_
