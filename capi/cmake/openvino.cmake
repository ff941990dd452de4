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

target_sources(flow_engine PRIVATE
  src/backends/openvino/loops.cpp src/backends/openvino/precision.cpp
  src/backends/openvino/resizes.cpp src/backends/openvino/session.cpp)
# Its headers have deprecated parts, which are not ours.
get_target_property(openvino_headers openvino::runtime INTERFACE_INCLUDE_DIRECTORIES)
target_include_directories(flow_engine SYSTEM PRIVATE ${openvino_headers})
target_link_libraries(flow_engine PRIVATE openvino::runtime)
