# OpenVINO: an installation of its own (OpenVINO_DIR), else the Python package of `Python3`.

if(NOT OpenVINO_DIR)
  find_package(Python3 QUIET COMPONENTS Interpreter)
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -c
      "import importlib.util as u; print(u.find_spec('openvino').submodule_search_locations[0])"
    OUTPUT_VARIABLE openvino_package OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  set(openvino_hint ${openvino_package}/cmake)
endif()
find_package(OpenVINO QUIET COMPONENTS Runtime HINTS ${openvino_hint})
if(NOT OpenVINO_FOUND)
  message(FATAL_ERROR "OpenVINO was not found. Install it (`pip install openvino`) and say where: "
    "-DPython3_EXECUTABLE=PYTHON or -DOpenVINO_DIR=DIR; or build without it: "
    "-DFLOW_ENGINE_OPENVINO=OFF.")
endif()
message(STATUS "OpenVINO ${OpenVINO_VERSION}: ${OpenVINO_DIR}")

# What OpenVINO computes with: beside its own configuration, or in the folder of a release.
find_package(TBB 2021 QUIET CONFIG NO_DEFAULT_PATH
  PATHS ${OpenVINO_DIR} ${OpenVINO_DIR}/../3rdparty/tbb/lib/cmake/TBB)
if(NOT TBB_FOUND)
  find_package(TBB 2021 QUIET CONFIG)
endif()
if(NOT TBB_FOUND)
  message(FATAL_ERROR "TBB was not found, which OpenVINO computes with; its Python package has it. "
    "For another OpenVINO, say where TBBConfig.cmake is: -DTBB_DIR=DIR; or build without it: "
    "-DFLOW_ENGINE_OPENVINO=OFF.")
endif()

target_sources(flow_engine PRIVATE
  src/backends/openvino/loops.cpp src/backends/openvino/operators.cpp
  src/backends/openvino/precision.cpp src/backends/openvino/resizes.cpp
  src/backends/openvino/session.cpp)
# The project's operators for OpenVINO. GCC's notes on how vectors are passed are about functions that
# are inlined.
set(operators ${root}/kernels/remaining_motion.cpp ${root}/kernels/planes.cpp
  ${root}/kernels/openvino/operators.cpp)
target_sources(flow_engine PRIVATE ${operators})
set_source_files_properties(${operators} PROPERTIES
  COMPILE_OPTIONS "${kernel_options};-Wno-psabi")
# Its headers have deprecated parts, which are not ours.
get_target_property(openvino_headers openvino::runtime INTERFACE_INCLUDE_DIRECTORIES)
target_include_directories(flow_engine SYSTEM PRIVATE ${openvino_headers})
target_link_libraries(flow_engine PRIVATE openvino::runtime TBB::tbb)
