"""Arguments that the C library refuses: nothing is read or written through them."""

import ctypes
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.bundle.shipped import DEFAULT_BUNDLE
from engine.errors import BundleError, InputError
from tests.support.c_library import (
    INPUT_ERROR,
    OK,
    Engine,
    Flow,
    Image,
    Info,
    Library,
    Options,
    flow_of,
    image_of,
)

FUNCTIONS = {"version", "open", "info", "infer", "infer_batch", "last_error", "close"}
PIXELS = np.zeros((8, 10, 3), np.uint8)
VECTORS = np.zeros((8, 10, 2), np.float32)


@pytest.fixture(scope="module")
def opened(library: Library, tiny_bundle: Path) -> Iterator[Engine]:
    with library.open(tiny_bundle) as opened:
        yield opened


def refused(opened: Engine, image1: object, image2: object, flow: object) -> str:
    library = opened.library.c
    arguments = [None if each is None else ctypes.byref(each) for each in (image1, image2, flow)]
    assert library.flow_engine_infer(opened.handle, *arguments) == INPUT_ERROR
    return library.flow_engine_last_error().decode()


def changed(structure: Image | Flow, **fields: object) -> Image | Flow:
    copy = type(structure).from_buffer_copy(structure)
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


def test_exports_its_functions_and_nothing_else(build: Path) -> None:
    command = ["nm", "-D", "--defined-only", build / "libflow_engine.so"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    names = {line.split()[-1] for line in lines}
    assert names == {f"flow_engine_{name}@@FLOW_ENGINE_1" for name in FUNCTIONS} | {"FLOW_ENGINE_1"}


def test_the_program_in_c(build: Path) -> None:
    limited = os.environ.get("ONEDNN_MAX_CPU_ISA") is not None
    if not limited and engine.load(DEFAULT_BUNDLE, refine="none").backend.name != "openvino":
        pytest.skip("OpenVINO does not run the bundle that ships here")
    command = ["ctest", "--test-dir", build, "--output-on-failure"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_version(library: Library) -> None:
    header = Path("capi/include/flow_engine.h").read_text()
    parts = [header.split(f"VERSION_{part} ")[1].split()[0] for part in ("MAJOR", "MINOR", "PATCH")]
    major, minor, patch = map(int, parts)
    assert library.c.flow_engine_version() == 10000 * major + 100 * minor + patch


def test_null_pointers(opened: Engine) -> None:
    image, flow, c = image_of(PIXELS), flow_of(VECTORS), opened.library.c
    expected = "image1 is NULL; expected a structure."
    assert refused(opened, None, image, flow) == expected
    assert refused(opened, image, None, flow) == expected.replace("1", "2")
    assert refused(opened, image, image, None) == expected.replace("image1", "flow")
    no_data = "image1.data is NULL; expected the pixels of an image."
    assert refused(opened, changed(image, data=None), image, flow) == no_data
    no_memory = "flow.data is NULL; expected memory for the flow."
    assert refused(opened, image, image, changed(flow, data=None)) == no_memory
    assert c.flow_engine_info(opened.handle, None) == INPUT_ERROR
    assert c.flow_engine_open(b"x", None, None) == INPUT_ERROR
    handle = ctypes.c_void_p(1)
    assert c.flow_engine_open(None, None, ctypes.byref(handle)) == INPUT_ERROR
    assert not handle
    assert c.flow_engine_last_error().startswith(b"bundle is NULL; expected the path of a folder")


@pytest.mark.parametrize("size", [0, 8, ctypes.sizeof(Image) - 1, 5000, 2**63])
def test_structures_of_another_size(opened: Engine, size: int) -> None:
    image, flow = image_of(PIXELS), flow_of(VECTORS)
    message = f"image2.struct_size is {size}; expected {ctypes.sizeof(Image)}. Set it to the sizeof"
    assert refused(opened, image, changed(image, struct_size=size), flow).startswith(message)


def test_a_structure_of_a_newer_header(opened: Engine) -> None:
    class Newer(ctypes.Structure):
        _fields_ = [("known", Image), ("more", ctypes.c_int64)]

    size = ctypes.sizeof(Newer)
    newer, flow = Newer(changed(image_of(PIXELS), struct_size=size), 0), flow_of(VECTORS)
    call = opened.library.c.flow_engine_infer
    arguments = [ctypes.byref(each) for each in (newer, newer, flow)]
    assert call(opened.handle, *arguments) == OK
    newer.more = 1  # a feature that this library does not have
    assert "image1 has fields that are not known to this library, version 1.1.0" in refused(
        opened, newer, newer, flow
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 0}, "image1 is 0x10; expected at least one pixel."),
        ({"width": -1}, "image1 is 8x-1; expected at least one pixel."),
        ({"width": 9}, "image1 is 8x9 and image2 8x10; expected the same size."),
        ({"format": 0}, "image1.format is 0; expected a FlowEngineFormat"),
        ({"format": 4}, "image1.row_stride is 30; expected at least the 40 bytes of a row"),
        ({"row_stride": -30}, "image1.row_stride is -30; expected at least the 30 bytes of a row"),
    ],
)
def test_images(opened: Engine, fields: dict[str, int], message: str) -> None:
    image = image_of(PIXELS)
    assert refused(opened, changed(image, **fields), image, flow_of(VECTORS)).startswith(message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"height": 7}, "flow is 7x10 and the images 8x10; expected the same size."),
        ({"row_stride": 79}, "flow.row_stride is 79; expected at least the 80 bytes of a row"),
        ({"row_stride": 82}, "flow.row_stride is 82; expected a multiple of 4."),
    ],
)
def test_flows(opened: Engine, fields: dict[str, int], message: str) -> None:
    image = image_of(PIXELS)
    assert refused(opened, image, image, changed(flow_of(VECTORS), **fields)).startswith(message)


def test_batches(opened: Engine) -> None:
    library = opened.library
    assert library.c.flow_engine_infer_batch(opened.handle, 0, None, None, None) == INPUT_ERROR
    assert library.c.flow_engine_last_error() == b"count is 0; expected at least one pair."
    images = (Image * 2)(image_of(PIXELS), image_of(PIXELS[:4]))
    flows = (Flow * 2)(flow_of(VECTORS), flow_of(VECTORS[:4]))
    batch = opened.handle, ctypes.c_size_t(2), images, images, flows
    assert library.c.flow_engine_infer_batch(*batch) == INPUT_ERROR
    message = library.c.flow_engine_last_error().decode()
    assert message.startswith("image1[0] is 8x10 and image1[1] 4x10; expected the same size.")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"threads": -1}, InputError, r"threads is -1; expected a number from 1 up, or 0 for all"),
        ({"threads": 9999}, InputError, r"threads is 9999, but this machine has \d+ CPU"),
        ({"streams": -1}, InputError, r"streams is -1; expected a number from 1 up\."),
        ({"streams": 2, "threads": 1}, InputError, r"streams is 2, but there are 1 CPU threads"),
        ({"iterations": 3}, InputError, r"iterations is 3, but tiny has no repeated updates"),
        ({"device": -1}, InputError, r"device is -1; expected the index of a GPU, 0 or more\."),
        ({"backend": b"opnvino"}, InputError, r"unknown backend 'opnvino'; .* mean 'openvino'\?"),
        ({"refine": b"tv-l1"}, InputError, r"refine is 'tv-l1'; expected 'variational' or 'none'"),
        (
            {"refine": b""},
            InputError,
            r"refine is ''; .* or 'none', or NULL for the bundle's own\.$",
        ),
        ({"struct_size": 1}, InputError, r"options.struct_size is 1; expected 40\."),
        ({"struct_size": 36}, InputError, r"options.struct_size is 36; expected 40\."),
    ],
)
def test_options(
    library: Library, tiny_bundle: Path, options: dict, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        library.open(tiny_bundle, **options)


def test_more_passes_than_the_bundle_has(library: Library) -> None:
    with pytest.raises(engine.InputError) as expected:
        engine.load(DEFAULT_BUNDLE, iterations=2)
    with pytest.raises(InputError, match=f"^{re.escape(str(expected.value))}$"):
        library.open(DEFAULT_BUNDLE, iterations=2)


def test_a_closed_engine(library: Library, tiny_bundle: Path) -> None:
    opened = library.open(tiny_bundle)
    opened.close()
    opened.close()
    library.c.flow_engine_close(None)
    message = r"this engine is closed\. Open another"
    with pytest.raises(InputError, match=message):
        opened.infer(PIXELS, PIXELS)
    with pytest.raises(InputError, match=message):
        opened.info  # noqa: B018 - the call is the property
    invented = Engine(library, ctypes.c_void_p(0xDEAD0000))
    with pytest.raises(InputError, match=message):
        invented.infer(PIXELS, PIXELS)
    with library.open(tiny_bundle) as another:
        assert another.handle.value != opened.handle.value
        with pytest.raises(InputError, match=message):
            opened.infer(PIXELS, PIXELS)


def test_errors_are_of_their_thread(library: Library, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        library.open(tmp_path)
    with ThreadPoolExecutor(1) as other:
        assert other.submit(library.c.flow_engine_last_error).result() == b""
    assert library.c.flow_engine_last_error().startswith(str(tmp_path).encode())


def test_sizes_of_structures() -> None:
    # What programs that were compiled with version 1.1 pass.
    assert [ctypes.sizeof(each) for each in (Options, Info, Image, Flow)] == [40, 64, 40, 32]


def test_options_of_version_1_0(library: Library, tiny_bundle: Path) -> None:
    """What lies behind them is not read."""
    with library.open(tiny_bundle, struct_size=32, threads=1, refine=b"of another program") as old:
        assert old.infer(PIXELS, PIXELS).shape == VECTORS.shape
    with pytest.raises(InputError, match="threads is -1"):
        library.open(tiny_bundle, struct_size=32, threads=-1)
