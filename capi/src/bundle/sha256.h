// SHA-256 (FIPS 180-4): the library needs no other of OpenSSL, which is not on every machine.

#ifndef FLOW_ENGINE_BUNDLE_SHA256_H_
#define FLOW_ENGINE_BUNDLE_SHA256_H_

#include <array>
#include <cstdint>
#include <string>

namespace flow_engine {

class Sha256 {
 public:
  void update(const void* data, size_t size);
  // 64 lower-case hexadecimal digits. The object is used up.
  std::string hex_digest();

 private:
  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> block_ = {};
  uint64_t size_ = 0;
};

std::string sha256_of(const std::string& content);

}  // namespace flow_engine

#endif  // FLOW_ENGINE_BUNDLE_SHA256_H_
