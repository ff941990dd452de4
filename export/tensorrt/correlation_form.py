"""How a TensorRT plan computes a network's correlation: by a plugin, or in standard operators."""

from pathlib import Path

from engine.backends.tensorrt.package import PLUGIN_LIBRARY, TensorRT
from engine.bundle.manifest import SizeProfile
from kernels import library
from kernels.tensorrt_plugin import aot

# Best first. "plugin" puts the kernel itself into the plan; "library" is a plugin in a file of its
# own, for any size; "onnx" runs everywhere, about as fast as matrix products can do it.
FORMS = ("plugin", "library", "onnx")


def best_form(tensorrt: TensorRT, profile: SizeProfile) -> tuple[str, list[str]]:
    """Find the best form that this machine can build, and say why it is not a better one.

    Args:
        tensorrt: the package that will build the plan.
        profile: sizes that the plan will take.
    """
    reasons: list[str] = []
    for form in FORMS:
        obstacle = obstacle_to(form, tensorrt, profile)
        if obstacle is None:
            break
        reasons.append(f"{form}: {obstacle}")
    return form, reasons


def obstacle_to(form: str, tensorrt: TensorRT, profile: SizeProfile) -> str | None:
    """Say why a plan of these sizes cannot have a form of the correlation here; None: it can.

    The ahead-of-time plugin is then known to TensorRT.
    """
    if form == "onnx":
        return None
    if tensorrt.name == "tensorrt_rtx":
        return "TensorRT for RTX takes no plugins"
    if form == "library":
        built = plugin_library()
        return None if built.is_file() else (
            f"no {built.name} in {built.parent}; build it: cmake -S . -B build "
            "-DTENSORRT_ROOT=DIR && cmake --build build"
        )  # fmt: skip
    if not profile.min == profile.opt == profile.max:
        return (
            "its plan is for one size and batch; give --min-size, --size and --max-size the same "
            "value, and --max-batch 1"
        )
    try:
        aot.register()
    except library.KernelError as error:
        return str(error)
    return None


def plugin_library() -> Path:
    """Where CMake puts the library of the form ``library``."""
    return library.library_directory() / PLUGIN_LIBRARY
