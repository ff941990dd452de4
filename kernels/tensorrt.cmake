# libflow_correlation_tensorrt: TensorRT's plugin and the CUDA kernels in one file. Of TensorRT, the
# headers are enough to build it.

set(TENSORRT_ROOT "" CACHE PATH "The folder of TensorRT, with its headers in include/")

# Not cached: another TENSORRT_ROOT is looked through anew.
if(TENSORRT_ROOT)
  find_path(tensorrt_headers NvInferRuntime.h PATHS ${TENSORRT_ROOT} NO_DEFAULT_PATH NO_CACHE
    PATH_SUFFIXES include include/${CMAKE_LIBRARY_ARCHITECTURE})
  if(NOT tensorrt_headers)
    message(FATAL_ERROR "No NvInferRuntime.h in TENSORRT_ROOT=${TENSORRT_ROOT} or its include/. "
      "Set TENSORRT_ROOT to the folder of TensorRT 10 or newer that has its headers in include/.")
  endif()
else()
  find_path(tensorrt_headers NvInferRuntime.h NO_CACHE)
  if(NOT tensorrt_headers)
    message(STATUS "No NvInferRuntime.h: the TensorRT plugin library is not built. "
      "-DTENSORRT_ROOT=DIR says where TensorRT is.")
    return()
  endif()
endif()
message(STATUS "TensorRT headers: ${tensorrt_headers}")

function(use_tensorrt_headers name)
  target_compile_options(${name} PRIVATE -Wall -Wextra)
  target_include_directories(${name} SYSTEM PRIVATE
    ${tensorrt_headers} ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
endfunction()

add_library(correlation_tensorrt OBJECT kernels/tensorrt_plugin/plugin.cpp)
use_tensorrt_headers(correlation_tensorrt)

# libnvinfer is not linked: whoever loads the plugin has a TensorRT already, and it may be the lean
# runtime or a copy in a Python environment, beside which a second one would come in. -z defs proves
# that the library needs nothing of it. The script keeps the kernels' own C functions inside, too.
add_cuda_library(flow_correlation_tensorrt $<TARGET_OBJECTS:correlation_tensorrt>)
set(exports ${CMAKE_SOURCE_DIR}/kernels/tensorrt_plugin/exports.map)
target_link_options(flow_correlation_tensorrt PRIVATE
  LINKER:-z,defs LINKER:--version-script=${exports})
set_target_properties(flow_correlation_tensorrt PROPERTIES LINK_DEPENDS ${exports})

if(EXISTS ${CMAKE_SOURCE_DIR}/tests/kernels)  # not in the source distribution
  add_executable(correlation_tensorrt_test tests/kernels/tensorrt_plugin_test.cpp
    $<TARGET_OBJECTS:correlation_tensorrt>)
  use_tensorrt_headers(correlation_tensorrt_test)
  target_link_libraries(correlation_tensorrt_test PRIVATE flow_correlation_cpu ${CMAKE_DL_LIBS})
  add_test(NAME correlation_tensorrt
    COMMAND correlation_tensorrt_test $<TARGET_FILE:flow_correlation_tensorrt>)
endif()
