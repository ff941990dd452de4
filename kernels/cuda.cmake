# libflow_correlation_cuda and the same kernels as PTX, for those who launch them by name.

set(CMAKE_CUDA_STANDARD 17)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

# One compilation for every library that contains the kernels.
add_library(correlation_cuda OBJECT kernels/correlation.cu)
target_compile_options(correlation_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra --threads=0>)
set_target_properties(correlation_cuda PROPERTIES CUDA_VISIBILITY_PRESET hidden)

function(add_cuda_library name)
  add_library(${name} SHARED $<TARGET_OBJECTS:correlation_cuda> ${ARGN})
  # Static: the only runtime library that every machine with a driver can do without.
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CUDA CUDA_RUNTIME_LIBRARY Static)
endfunction()

add_cuda_library(flow_correlation_cuda)

# sm_80 is the oldest architecture with every instruction used; a newer driver compiles it further.
add_library(correlation_ptx OBJECT kernels/correlation.cu)
set_target_properties(correlation_ptx PROPERTIES
  CUDA_PTX_COMPILATION ON CUDA_ARCHITECTURES 80-virtual)
add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/flow_correlation.ptx
  COMMAND ${CMAKE_COMMAND} -E copy $<TARGET_OBJECTS:correlation_ptx>
          ${CMAKE_BINARY_DIR}/flow_correlation.ptx
  DEPENDS correlation_ptx $<TARGET_OBJECTS:correlation_ptx>
  VERBATIM)
add_custom_target(flow_correlation_ptx ALL DEPENDS ${CMAKE_BINARY_DIR}/flow_correlation.ptx)

# On a machine with a GPU: the tests of these kernels under the memory and race checkers.
add_custom_target(compute-sanitizer
  COMMAND compute-sanitizer --tool memcheck --error-exitcode 1 python -m pytest -q -m gpu tests/kernels
  COMMAND compute-sanitizer --tool racecheck --error-exitcode 1 python -m pytest -q -m gpu tests/kernels
  DEPENDS flow_correlation_cuda
  WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
  USES_TERMINAL)
