// The TensorRT plugin library, libflow_correlation_tensorrt: how a program comes by the plugin.
//
// A program that has TensorRT load the library (IPluginRegistry::loadLibrary, or trtexec with
// --dynamicPlugins) needs nothing from here; one that links it calls flow::register_correlation().
// The library does not register itself while it is being loaded, as REGISTER_TENSORRT_PLUGIN would
// have it: loadLibrary refuses a library whose creators are registered already.

#ifndef FLOW_KERNELS_TENSORRT_PLUGIN_PLUGIN_H_
#define FLOW_KERNELS_TENSORRT_PLUGIN_PLUGIN_H_

#include <NvInferRuntime.h>

// The creator of plugin "correlation", version "1", namespace "flow". Its messages go to `logger`,
// which must outlive the plugins, or to stderr if that is null. (A name of its own: every library
// made for loadLibrary exports getCreators, and a program that links two of them reaches only one.)
extern "C" __attribute__((visibility("default"))) nvinfer1::IPluginCreatorInterface*
flow_correlation_tensorrt_creator(nvinfer1::ILogger* logger) noexcept;

namespace flow {

// Registers the plugin with TensorRT's global registry; false if it was registered before. Compiled
// into the program, because the library itself links nothing of TensorRT.
inline bool register_correlation(nvinfer1::ILogger& logger) noexcept {
  return getPluginRegistry()->registerCreator(*flow_correlation_tensorrt_creator(&logger), "flow");
}

}  // namespace flow

#endif  // FLOW_KERNELS_TENSORRT_PLUGIN_PLUGIN_H_
