"""flow_engine.h through ctypes: its structures, and its functions as Python's engine has them."""

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, BundleError, EngineError, InputError

OK, INPUT_ERROR, BUNDLE_ERROR, BACKEND_ERROR, NO_MEMORY, INTERNAL_ERROR = range(6)
RGB8, BGR8, GREY8, RGBA8, BGRA8 = range(1, 6)
ERRORS = {INPUT_ERROR: InputError, BUNDLE_ERROR: BundleError, BACKEND_ERROR: BackendError}

ROOT = Path(__file__).resolve().parents[2]

Pixels = NDArray[np.uint8]


def run(*command: str | Path) -> str:
    """Return what a command prints; fail with it unless the exit status is 0."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


class Sized(ctypes.Structure):
    """A structure whose first field is its size."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**{"struct_size": ctypes.sizeof(self), **fields})


class Options(Sized):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("backend", ctypes.c_char_p),
        *[(name, ctypes.c_int32) for name in ("threads", "streams", "iterations", "device")],
        ("refine", ctypes.c_char_p),
    ]


class Info(Sized):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        *[
            (name, ctypes.c_char_p)
            for name in ("network", "precision", "backend", "device", "runtime_version")
        ],
        ("arithmetic", ctypes.c_char_p),
        ("divisor", ctypes.c_int32),
    ]


class Image(Sized):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("row_stride", ctypes.c_int64),
        ("format", ctypes.c_int32),
    ]


class Flow(Sized):
    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("row_stride", ctypes.c_int64),
    ]


def image_of(pixels: Pixels, layout: int = RGB8) -> Image:
    """Describe rows of pixels, which may have a stride. The array must outlive the result."""
    height, width = pixels.shape[:2]
    return Image(
        data=pixels.ctypes.data, height=height, width=width, row_stride=pixels.strides[0],
        format=layout,
    )  # fmt: skip


def flow_of(flow: NDArray[np.float32]) -> Flow:
    """Describe memory for a flow, whose rows may have a stride."""
    height, width = flow.shape[:2]
    return Flow(data=flow.ctypes.data, height=height, width=width, row_stride=flow.strides[0])


class Library:
    """The functions of a library, which raise what its statuses stand for."""

    def __init__(self, path: Path) -> None:
        self.c = ctypes.CDLL(str(path))
        self.c.flow_engine_last_error.restype = ctypes.c_char_p

    def check(self, status: int) -> None:
        if status:
            message = self.c.flow_engine_last_error().decode()
            raise ERRORS.get(status, EngineError)(message)

    def open(self, bundle: Path | str, **options: Any) -> "Engine":
        handle = ctypes.c_void_p()
        settings = ctypes.byref(Options(**options))
        self.check(self.c.flow_engine_open(str(bundle).encode(), settings, ctypes.byref(handle)))
        return Engine(self, handle)


class Engine:
    """An open engine."""

    def __init__(self, library: Library, handle: ctypes.c_void_p) -> None:
        self.library = library
        self.handle = handle

    def infer(self, image1: Pixels, image2: Pixels, layout: int = RGB8) -> NDArray[np.float32]:
        flow = np.full((*image1.shape[:2], 2), np.nan, np.float32)
        first, second = image_of(image1, layout), image_of(image2, layout)
        status = self.library.c.flow_engine_infer(
            self.handle, *map(ctypes.byref, (first, second, flow_of(flow)))
        )
        self.library.check(status)
        return flow

    def infer_batch(self, images1: Pixels, images2: Pixels) -> NDArray[np.float32]:
        count = len(images1)
        flows = np.full((*images1.shape[:3], 2), np.nan, np.float32)
        firsts, seconds = ((Image * count)(*map(image_of, each)) for each in (images1, images2))
        outs = (Flow * count)(*map(flow_of, flows))
        status = self.library.c.flow_engine_infer_batch(
            self.handle, ctypes.c_size_t(count), firsts, seconds, outs
        )
        self.library.check(status)
        return flows

    @property
    def info(self) -> Info:
        info = Info()
        self.library.check(self.library.c.flow_engine_info(self.handle, ctypes.byref(info)))
        return info

    def close(self) -> None:
        self.library.c.flow_engine_close(self.handle)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
