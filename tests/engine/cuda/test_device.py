"""Opening a GPU, on a fake driver."""

import pytest

from engine.cuda.device import Device
from engine.errors import BackendError


@pytest.mark.parametrize("refuses", ["compute_capability", "retain_primary_context"])
def test_a_gpu_that_cannot_be_opened(cu, monkeypatch, refuses):
    def refuse(device):
        raise cu.Error("cuDevicePrimaryCtxRetain failed: CUDA-capable device(s) is/are busy")

    monkeypatch.setattr(cu.Device, refuses, refuse)
    with pytest.raises(BackendError, match=r"^cuda:0 cannot be opened: .* busy.* See nvidia-smi$"):
        Device(0)


def test_a_destroyed_context(cu, monkeypatch):
    gpu = Device(1)

    def refuse(context):
        raise gpu.driver.Error("cuCtxPushCurrent failed: context is destroyed")

    monkeypatch.setattr(gpu.driver.Context, "push", refuse)
    with (
        pytest.raises(BackendError, match=r"^cuda:1 \(NVIDIA A2, .*cuCtxPushCurrent"),
        gpu.current(),
    ):
        pass
