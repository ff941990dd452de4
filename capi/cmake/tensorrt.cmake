# TensorRT 10.9 or newer and CUDA's runtime library: unpacked releases, or the folders of their Python
# packages (which name libraries by version).

set(TENSORRT_ROOT "" CACHE PATH "The folder of TensorRT, with include/ and lib/")
set(CUDA_ROOT "" CACHE PATH "The folder of CUDA's toolkit, with include/ and lib64/")

# Not cached: other folders are looked through anew.
set(library_folders lib lib64 lib/${CMAKE_LIBRARY_ARCHITECTURE})
find_path(tensorrt_headers NvInferRuntime.h NO_CACHE HINTS ${TENSORRT_ROOT}
  PATH_SUFFIXES include include/${CMAKE_LIBRARY_ARCHITECTURE})
find_library(tensorrt_library NAMES nvinfer libnvinfer.so.11 libnvinfer.so.10 NO_CACHE
  HINTS ${TENSORRT_ROOT} PATH_SUFFIXES ${library_folders})
if(NOT tensorrt_headers OR NOT tensorrt_library)
  message(FATAL_ERROR "No NvInferRuntime.h and libnvinfer.so in TENSORRT_ROOT=${TENSORRT_ROOT}. Set it "
    "to the folder of TensorRT 10.9 or newer, which has them in include/ and lib/.")
endif()
find_path(cuda_headers cuda_runtime_api.h NO_CACHE HINTS ${CUDA_ROOT} PATHS /usr/local/cuda
  PATH_SUFFIXES include)
find_library(cuda_library NAMES cudart libcudart.so.13 libcudart.so.12 NO_CACHE
  HINTS ${CUDA_ROOT} PATHS /usr/local/cuda PATH_SUFFIXES ${library_folders})
if(NOT cuda_headers OR NOT cuda_library)
  message(FATAL_ERROR "No cuda_runtime_api.h and libcudart.so in CUDA_ROOT=${CUDA_ROOT}. Set it to the "
    "folder of the CUDA toolkit that TensorRT was made for.")
endif()
message(STATUS "TensorRT: ${tensorrt_headers}, ${tensorrt_library}; CUDA: ${cuda_headers}, "
  "${cuda_library}")

set(tensorrt src/backends/tensorrt)
target_sources(flow_engine PRIVATE
  ${tensorrt}/gpu.cpp ${tensorrt}/log.cpp ${tensorrt}/plan.cpp ${tensorrt}/plugins.cpp
  ${tensorrt}/session.cpp ${tensorrt}/slot.cpp)
target_include_directories(flow_engine SYSTEM PRIVATE ${tensorrt_headers} ${cuda_headers})
target_link_libraries(flow_engine PRIVATE ${tensorrt_library} ${cuda_library})
