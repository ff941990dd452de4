"""The real Python bindings of both TensorRT packages, and doubles of their classes.

Use it in a separate process: the stub libraries would shadow an installed TensorRT.
"""

import ctypes
import functools
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

STUBS = Path(__file__).with_name("tensorrt_stubs.c")
LIBRARIES = ("libnvinfer.so.11", "libnvinfer_plugin.so.11", "libnvonnxparser.so.11")


def import_bindings(name: str, folder: Path) -> ModuleType:
    """Import ``tensorrt``, whose bindings get stub libraries built in ``folder``, or the other.

    Returns a copy of the module, so that a test can replace its members.
    """
    if name == "tensorrt":
        compiler = shutil.which("cc") or shutil.which("gcc")
        for library in LIBRARIES:
            options = ["-shared", "-fPIC", f"-Wl,-soname,{library}", "-o", str(folder / library)]
            subprocess.run([compiler, *options, str(STUBS)], check=True)
            ctypes.CDLL(str(folder / library))
        real = importlib.import_module("tensorrt_bindings")
    else:
        real = importlib.import_module(name)
    copy = ModuleType(name)
    copy.__dict__.update({key: value for key, value in vars(real).items() if key[:2] != "__"})
    copy.__version__ = real.__version__
    copy.real = real  # for doubles of classes that a test replaces in the copy
    sys.modules[name] = copy
    return copy


def double(real_class: type, **members: Any) -> Any:
    """Return a double of an instance: ``members`` work, other members of the class raise.

    Refuses members that the real class lacks, and arguments that none of its overloads accept. If a
    test has replaced the class by a function, accepts everything.
    """
    if not isinstance(real_class, type):
        return SimpleNamespace(**members)
    instance = Double(real_class)
    for name, value in members.items():
        setattr(instance, name, value)
    return instance


class Double:
    def __init__(self, real_class: type) -> None:
        vars(self)["_real_class"] = real_class

    @property
    def __class__(self) -> type:  # for isinstance
        return self._real_class

    def __setattr__(self, name: str, value: Any) -> None:
        real = getattr(self._real_class, name)  # raises AttributeError
        vars(self)[name] = _checked(real, value) if callable(real) else value

    def __getattr__(self, name: str) -> Any:
        getattr(self._real_class, name)
        name = f"{self._real_class.__name__}.{name}"
        raise AssertionError(f"{name} is used, but the double does not define it")


def _checked(real: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if not any(_binds(signature, args, kwargs) for signature in overloads(real)):
            raise TypeError(f"{real.__name__} does not take {args} {kwargs}: {real.__doc__}")
        return function(*args, **kwargs)

    return call


def _binds(signature: inspect.Signature, args: Any, kwargs: Any) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True


def overloads(real: Any) -> tuple[inspect.Signature, ...]:
    """Return the signatures, without ``self``, in the docstring of a pybind11 method."""
    return _documented_overloads(real.__name__, real.__doc__)


@functools.cache
def _documented_overloads(name: str, doc: str) -> tuple[inspect.Signature, ...]:
    lines = re.findall(rf"^(?:\d+\. )?{name}\((self: .*)\) -> ", doc, re.M)
    assert lines, f"{name} has no signature in its docstring: {doc}"
    return tuple(_signature(line) for line in lines)


def _signature(line: str) -> inspect.Signature:
    _, *arguments = re.split(r", (?=\w+: )", line)
    return inspect.Signature(
        [
            inspect.Parameter(
                argument.split(":")[0],
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=None if " = " in argument else inspect.Parameter.empty,
            )
            for argument in arguments
        ]
    )
