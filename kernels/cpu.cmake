# libflow_correlation_cpu: one compilation of the inner loops per instruction set, chosen at run time.

find_package(OpenMP REQUIRED COMPONENTS CXX)

function(add_variant name lanes registers)
  add_library(correlation_${name} OBJECT kernels/correlation_cpu_kernel.cpp)
  target_compile_definitions(correlation_${name} PRIVATE
    FLOW_VARIANT=k${name} FLOW_LANES=${lanes} FLOW_REGISTERS=${registers})
  # Products may be fused into sums, which the tolerance of the tests includes.
  target_compile_options(correlation_${name} PRIVATE -O3 -Wall -Wextra -ffp-contract=fast ${ARGN})
  target_sources(flow_correlation_cpu PRIVATE $<TARGET_OBJECTS:correlation_${name}>)
endfunction()

add_library(flow_correlation_cpu SHARED kernels/correlation_cpu.cpp)
target_compile_options(flow_correlation_cpu PRIVATE -O3 -Wall -Wextra)
target_link_libraries(flow_correlation_cpu PRIVATE OpenMP::OpenMP_CXX)

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  target_compile_definitions(flow_correlation_cpu PRIVATE FLOW_X86_64)
  add_variant(Baseline 4 16)
  add_variant(Avx2 8 16 -mavx2 -mfma)
  add_variant(Avx512 16 32 -mavx512f -mfma -mprefer-vector-width=512)
else()
  add_variant(Baseline 4 32)
endif()

if(EXISTS ${CMAKE_SOURCE_DIR}/tests/kernels)  # not in the source distribution
  add_executable(correlation_cpu_test tests/kernels/correlation_cpu_test.cpp)
  target_link_libraries(correlation_cpu_test PRIVATE flow_correlation_cpu)
  add_test(NAME correlation_cpu COMMAND correlation_cpu_test)

  # The CUDA kernels' source as C++ on an emulation of their instructions: evidence without a GPU.
  add_executable(correlation_emulated_test tests/kernels/correlation_emulated_test.cpp)
  target_compile_options(correlation_emulated_test PRIVATE
    -O2 -Wall -Wextra -Wno-unknown-pragmas -fno-strict-aliasing)
  add_test(NAME correlation_emulated COMMAND correlation_emulated_test)
endif()
