"""Hook of PyInstaller: the default bundle, and what the engine imports by name."""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs, collect_submodules

# Those that are installed; the first two compute the default bundle.
_RUNTIMES = ("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "pycuda")
# OpenVINO opens its readers by names that end in a version.
_LIBRARIES = ["*.dll", "*.dylib", "lib*.so", "lib*.so.*"]

# Not what npm has installed for the browser page of a checkout.
datas = collect_data_files("engine", excludes=["**/node_modules"])
hiddenimports = collect_submodules("engine.backends")
binaries = collect_dynamic_libs("engine", search_patterns=["_operators.so", "_kernel.so"])
for name in _RUNTIMES:
    if find_spec(name) is not None:
        hiddenimports.append(name)
        datas += collect_data_files(name, includes=["**/*.xml", "**/*.json"])
        binaries += collect_dynamic_libs(name, search_patterns=_LIBRARIES)
