"""Device arrays that ``infer_device`` accepts and refuses.

The TensorRT backend's use of them is tested in tests/contract/device_cases.py.
"""

from types import SimpleNamespace

import numpy as np
import pytest

import engine
from engine import FlowEngine
from engine.bundle.manifest import SizeProfile, read_manifest
from engine.errors import BackendError, InputError

torch = pytest.importorskip("torch", reason="torch is not installed")


class DeviceBackend:
    """Records its arguments."""

    name = "fake"
    device = "cuda:0"
    runtime_version = "1"
    arithmetic = "fp16"
    profile = None

    def prepare(self, image):
        return image

    def run(self, first, second):
        raise AssertionError("infer_device copies through the host")

    def run_device(self, first, second, size, *, out, stream):
        self.received = SimpleNamespace(
            first=first, second=second, size=size, out=out, stream=stream
        )
        return self.received

    def device_ms(self):
        return None

    def close(self):
        pass


class Interface:
    """An array with the CUDA Array Interface only, of any version and content."""

    def __init__(self, shape=(8, 8, 3), **changes):
        self.__cuda_array_interface__ = {
            "version": 2, "shape": shape, "typestr": "|u1", "data": (4096, False), **changes,
        }  # fmt: skip


class Dlpack:
    """A PyTorch tensor that claims to be on a GPU."""

    def __init__(self, tensor, device=(2, 0)):
        self.tensor, self.device, self.streams = tensor, device, []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream):
        self.streams.append(stream)
        return self.tensor.__dlpack__()


IMAGE = Interface()


@pytest.fixture
def backend():
    return DeviceBackend()


@pytest.fixture
def flow_engine(tiny_bundle, backend):
    return FlowEngine(read_manifest(tiny_bundle), backend)


def test_views_describe_the_arrays(flow_engine, backend):
    image2 = Interface(version=3, strides=(40, 3, 1), data=(5001, True), stream=7)
    flow_engine.infer_device(IMAGE, image2)
    first, second = backend.received.first, backend.received.second
    assert (first.address, first.shape, first.strides, first.stream) == (
        4096, (8, 8, 3), (24, 3, 1), None,
    )  # fmt: skip
    assert (second.address, second.strides, second.stream) == (5001, (40, 3, 1), 7)
    assert first.is_contiguous
    assert not second.is_contiguous
    assert (first.owner, second.owner) == (IMAGE, image2)
    assert (backend.received.size, backend.received.out, backend.received.stream) == (
        (64, 64),
        None,
        None,
    )


@pytest.mark.parametrize(("stream", "expected"), [(None, 1), (0, 1), (1, 1), (2, 2), (77, 77)])
def test_dlpack_without_a_cuda_array_interface(flow_engine, backend, stream, expected):
    tensor = torch.arange(2 * 9 * 9 * 3, dtype=torch.uint8).reshape(2, 9, 9, 3)[:, :8, :8]
    images = Dlpack(tensor), Dlpack(tensor)
    flow_engine.infer_device(*images, stream=stream)
    view = backend.received.first
    assert (view.address, view.shape, view.strides) == (
        tensor.data_ptr(), (2, 8, 8, 3), (243, 27, 3, 1),
    )  # fmt: skip
    assert [image.streams for image in images] == [[expected], [expected]]


def test_strides_of_axes_of_length_1_are_ignored(flow_engine, backend):
    for shape, strides in (((1, 1, 3), (0, 5, 1)), ((1, 8, 8, 3), (-9, 24, 3, 1)),
                           ((2, 1, 8, 3), (24, 999, 3, 1))):  # fmt: skip
        image = Interface(shape, strides=strides)
        flow_engine.infer_device(image, image)
        assert backend.received.first.is_contiguous


@pytest.mark.parametrize(
    ("stream", "handle"),
    [
        (0, 0),
        (5, 5),
        (SimpleNamespace(cuda_stream=6), 6),
        (SimpleNamespace(ptr=7), 7),
        (SimpleNamespace(handle=8), 8),
    ],
)
def test_streams(flow_engine, backend, stream, handle):
    flow_engine.infer_device(IMAGE, IMAGE, stream=stream)
    assert backend.received.stream.handle == handle
    assert backend.received.stream.owner is stream


@pytest.mark.parametrize("stream", ["cuda:0", -1, True, 1.0, SimpleNamespace(ptr=None)])
def test_bad_streams(flow_engine, stream):
    with pytest.raises(InputError, match=r"stream is .*; expected None, the handle of a CUDA str"):
        flow_engine.infer_device(IMAGE, IMAGE, stream=stream)


def broken():
    class Broken:
        @property
        def __cuda_array_interface__(self):
            raise RuntimeError("Can't get it on a Variable\n that requires grad.")

    return Broken()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.uint8), "image2 is in host memory; .* On the host, use infer"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), "image2 is in host memory; .* use infer"),
        (Dlpack(torch.zeros(8, 8, 3), (10, 0)), "image2 is on a device of DLPack type 10; expect"),
        ([[[0, 0, 0]]], r"image2 is list; expected an array on the GPU.*host, use infer"),
        ("a.png", "image2 is str; expected an array on the GPU"),
        (None, "image2 is NoneType; expected an array on the GPU"),
        (Interface(typestr="<f4"), r"image2 has type float32; expected uint8 .* on the device"),
        (Dlpack(torch.zeros(8, 8, 3)), "image2 has type float32; expected uint8"),
        (
            Dlpack(torch.zeros(8, 8, 3, dtype=torch.bfloat16)),
            "image2 cannot be read as a device array: DLPack type code 4, 16 bits, 1 lanes",
        ),
        (Interface((8, 8)), r"image2 has shape \(8, 8\); expected \(H, W, 3\) or \(N, H, W, 3\)"),
        (Interface((3, 8, 8)), r"image2 has shape \(3, 8, 8\); expected \(H, W, 3\)"),
        (Interface(()), r"image2 has shape \(\); expected"),
        (Interface((1, 1, 8, 8, 3)), r"image2 has shape \(1, 1, 8, 8, 3\); expected"),
        (Interface((0, 8, 3)), r"image2 is empty: its shape is \(0, 8, 3\)"),
        (Interface((0, 8, 8, 3)), r"image2 is empty: its shape is \(0, 8, 8, 3\)"),
        (Interface((8, 9, 3)), r"image1 has shape \(8, 8, 3\) and image2 \(8, 9, 3\); .* the same"),
        (Interface((1, 8, 8, 3)), r"image2 \(1, 8, 8, 3\); expected the same shape"),
        (Interface(mask=IMAGE), "image2 is masked; expected an array without a mask"),
        (
            Interface(strides=(3, 24, 1)),
            r"has strides \(3, 24, 1\); .* Make it contiguous on the d",
        ),
        (Interface(strides=(32, 4, 1)), r"image2 has strides \(32, 4, 1\); expected the pixels of"),
        (Interface(strides=(24, 3, -1)), r"image2 has strides \(24, 3, -1\)"),
        (Interface(strides=(-24, 3, 1)), r"image2 has strides \(-24, 3, 1\); expected"),
        (Interface(strides=(0, 3, 1)), r"image2 has strides \(0, 3, 1\); expected"),
        (broken(), "image2 cannot be read as a device array: Can't get .* that requires grad"),
        (Interface(typestr="?!"), "image2 cannot be read as a device array: .*"),
        (SimpleNamespace(__cuda_array_interface__={}), "image2 cannot be read .*: 'data'"),
    ],
)
def test_bad_images(flow_engine, image, message):
    with pytest.raises(InputError, match=message):
        flow_engine.infer_device(IMAGE, image)


def test_out(flow_engine, backend):
    out = Interface((8, 8, 2), typestr="<f4", data=(8192, False), stream=9)
    flow_engine.infer_device(IMAGE, IMAGE, out=out)
    view = backend.received.out
    assert (view.name, view.address, view.shape, view.stream) == ("out", 8192, (8, 8, 2), 9)
    assert view.owner is out


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((8, 8, 2), np.float32), "out is in host memory; expected an array on the GPU"),
        (
            Interface((8, 8, 2), typestr="<f8"),
            r"out has shape \(8, 8, 2\) and type float64; expected \(8, 8, 2\) float32",
        ),
        (
            Interface((2, 8, 8), typestr="<f4"),
            r"out has shape \(2, 8, 8\) .*; expected \(8, 8, 2\)",
        ),
        (Interface((1, 8, 8, 2), typestr="<f4"), r"out has shape \(1, 8, 8, 2\) .*expected \(8, 8"),
        (Interface((8, 8, 2), typestr=">f4"), r"out has .* type >f4; expected \(8, 8, 2\) float32"),
        (
            Interface((8, 8, 2), typestr="<f4", strides=(128, 8, 4)),
            r"out is not contiguous: its strides are \(128, 8, 4\)",
        ),
        (Interface((8, 8, 2), typestr="<f4", data=(8192, True)), "out is read-only; expected an"),
    ],
)
def test_bad_out(flow_engine, out, message):
    with pytest.raises(InputError, match=message):
        flow_engine.infer_device(IMAGE, IMAGE, out=out)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 200, 200, 3), (2000, 200, 3)])
def test_errors_outside_the_profile_equal_those_of_infer(flow_engine, backend, shape):
    backend.profile = SizeProfile((1, 128, 128), (1, 192, 192), (2, 1088, 1920))
    host, image = np.zeros(shape, np.uint8), Interface(shape)
    with pytest.raises(InputError) as of_infer:
        flow_engine.infer(host, host)
    with pytest.raises(InputError) as of_infer_device:
        flow_engine.infer_device(image, image)
    assert str(of_infer_device.value) == str(of_infer.value)


def test_a_backend_without_device_arrays(tiny_bundle):
    with (
        engine.load(tiny_bundle, backend="onnxruntime", threads=1) as opened,
        pytest.raises(
            BackendError, match=r"onnxruntime takes no arrays on a GPU; only tensorrt do"
        ),
    ):
        opened.infer_device(IMAGE, IMAGE)


def test_a_closed_engine(flow_engine):
    flow_engine.close()
    with pytest.raises(BackendError, match=r"this engine is closed\. Load another"):
        flow_engine.infer_device(IMAGE, IMAGE)


def test_an_error_of_the_runtime(flow_engine, backend):
    def run_device(*_, **__):
        raise RuntimeError("an illegal\n memory access.")

    backend.run_device = run_device
    with pytest.raises(
        BackendError, match=r"tiny: fake 1 failed on 1 pair\(s\) of 8x8: an illegal memory access\."
    ):
        flow_engine.infer_device(IMAGE, IMAGE)
