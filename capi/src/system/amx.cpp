#include "system/amx.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace flow_engine {
namespace {

// LDTILECFG of one tile, TILEZERO and TILERELEASE (Intel's manual, volume 2), after asking the
// kernel for the tile registers (https://docs.kernel.org/arch/x86/xstate.html).
void execute_amx() {
#if defined(__x86_64__)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  syscall(SYS_arch_prctl, kRequestPermission, kTileData);
  alignas(64) static const unsigned char config[64] = {
      1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  __asm__ volatile(
      ".byte 0xc4, 0xe2, 0x78, 0x49, 0x07\n"  // of the address in rdi
      ".byte 0xc4, 0xe2, 0x7b, 0x49, 0xc0\n"
      ".byte 0xc4, 0xe2, 0x78, 0x49, 0xc0\n"
      :
      : "D"(config)
      : "memory");
#endif
}

bool child_survives() {
  const pid_t child = fork();
  if (child < 0) return false;
  if (child == 0) {  // only async-signal-safe calls: the parent may have threads
    signal(SIGILL, SIG_DFL);
    signal(SIGSEGV, SIG_DFL);
    execute_amx();
    _exit(0);
  }
  int status = 0;
  pid_t waited;
  do {
    waited = waitpid(child, &status, 0);
  } while (waited < 0 && errno == EINTR);
  // A program that ignores SIGCHLD reaps the child itself: then nothing is known.
  return waited == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

bool runs_amx() {
  static const bool runs = child_survives();
  return runs;
}

}  // namespace flow_engine
