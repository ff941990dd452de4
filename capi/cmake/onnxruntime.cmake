# ONNX Runtime: a folder as its releases have it, with headers in include/ and the library in lib/. (Its
# Python package has no headers.)

set(ONNXRUNTIME_ROOT "" CACHE PATH "The folder of ONNX Runtime, with include/ and lib/")

find_path(onnxruntime_headers onnxruntime_c_api.h NO_CACHE HINTS ${ONNXRUNTIME_ROOT}
  PATH_SUFFIXES include include/onnxruntime include/onnxruntime/core/session)
find_library(onnxruntime_library onnxruntime NO_CACHE HINTS ${ONNXRUNTIME_ROOT}
  PATH_SUFFIXES lib lib64)
if(NOT onnxruntime_headers OR NOT onnxruntime_library)
  message(FATAL_ERROR "No onnxruntime_c_api.h and libonnxruntime.so in "
    "ONNXRUNTIME_ROOT=${ONNXRUNTIME_ROOT}. Set it to an unpacked release of ONNX Runtime, which has "
    "them in include/ and lib/; the Python package has no headers.")
endif()
message(STATUS "ONNX Runtime: ${onnxruntime_headers}, ${onnxruntime_library}")

target_sources(flow_engine PRIVATE src/backends/onnxruntime/session.cpp)
target_include_directories(flow_engine SYSTEM PRIVATE ${onnxruntime_headers})
target_link_libraries(flow_engine PRIVATE ${onnxruntime_library})
