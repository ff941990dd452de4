"""Forms of the correlation in a TensorRT plan: a plugin, or standard operators."""

from pathlib import Path

from engine.backends.tensorrt.package import PLUGIN_LIBRARY, TensorRT
from engine.bundle.manifest import SizeProfile
from kernels import library
from kernels.tensorrt_plugin import aot

# Best first. "plugin" embeds the kernel in the plan; "library" is a plugin in a separate file, for
# any size; "onnx" uses standard operators and runs everywhere.
FORMS = ("plugin", "library", "onnx")


def best_form(tensorrt: TensorRT, profile: SizeProfile) -> tuple[str, list[str]]:
    """Return the best form that this machine can build, and why better ones are not available.

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
    """Return why a plan of these sizes cannot use a form here; None if it can.

    Registers the ahead-of-time plugin with TensorRT as a side effect.
    """
    if form == "onnx":
        return None
    if tensorrt.name == "tensorrt_rtx":
        return "TensorRT for RTX does not support plugins"
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
    """Return the path of the library that CMake builds for the form ``library``."""
    return library.directory() / PLUGIN_LIBRARY
