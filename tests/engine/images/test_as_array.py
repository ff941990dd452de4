"""Images of PyTorch, Pillow and PyAV, and what video readers yield."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from engine.errors import InputError
from engine.images import checked_image
from engine.images.as_array import without_time


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)


def test_tensors_on_the_cpu(pixels):
    tensor = torch.from_numpy(pixels)
    np.testing.assert_array_equal(checked_image(tensor, "image1"), pixels)
    np.testing.assert_array_equal(
        checked_image(tensor.permute(2, 0, 1).permute(1, 2, 0), "image1"), pixels
    )
    np.testing.assert_array_equal(checked_image(tensor.float() / 255, "image1") * 255, pixels)


# Each refusal ends in the expression to type: it is executed.
@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (lambda tensor: tensor.permute(2, 0, 1), "image1.permute(1, 2, 0)"),
        (lambda tensor: tensor.permute(2, 0, 1)[None], "image1[0].permute(1, 2, 0)"),
        (
            lambda tensor: tensor.permute(2, 0, 1).expand(2, -1, -1, -1),
            "image1.permute(0, 2, 3, 1)",
        ),
        (lambda tensor: (tensor.float() / 255).requires_grad_(), "image1.detach()"),
        (lambda tensor: (tensor.float() / 255).bfloat16(), "image1.float()"),
        (lambda tensor: tensor.long(), "image1.numpy().astype('uint8')"),
        (lambda tensor: tensor.float(), "image1.clip(0, 255) / 255"),
        (lambda tensor: tensor.float() / 127.5 - 1, "((image1 + 1) / 2).clip(0, 1)"),
    ],
)
def test_other_tensors_are_refused_with_the_line_to_type(pixels, given, advice):
    tensor = given(torch.from_numpy(pixels))
    with pytest.raises(InputError) as caught:
        checked_image(tensor, "image1")
    assert str(caught.value).endswith(f"{advice}.")
    found = checked_image(eval(advice, {"image1": tensor}), "image1")
    levels = found if found.dtype == np.uint8 else found * 255
    # bfloat16 has 8 bits of mantissa.
    np.testing.assert_allclose(levels, np.broadcast_to(pixels, found.shape), atol=0.5)


def test_tensors_on_a_gpu_are_refused(pixels):
    with pytest.raises(InputError, match=r"on meta; .* image1\.cpu\(\), .* use infer_device"):
        checked_image(torch.from_numpy(pixels).to("meta"), "image1")


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "P", "RGBA", "CMYK", "LA", "1", "I;16", "I", "F"])
def test_pillow_images_are_rgb_or_grey(pixels, mode):
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    picture = pillow.fromarray(pixels)
    np.testing.assert_array_equal(checked_image(picture, "image1"), pixels)
    grey = picture.convert("L")
    np.testing.assert_array_equal(checked_image(grey, "image1")[..., 2], np.asarray(grey))
    other = (grey if mode[0] in "IF" else picture).convert(mode)
    line = r"numpy\.asarray\(image1\) // 257" if mode[0] in "IF" else r"image1\.convert\('RGB'\)"
    with pytest.raises(InputError, match=rf"mode {mode}[;,].* mode RGB or L\. .*{line}"):
        checked_image(other, "image1")


def test_the_order_of_self_describing_images_is_known(pixels):
    """With color="bgr", the result is in that order, as an array would be."""
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    found = checked_image(pillow.fromarray(pixels), "image1", bgr=True)
    np.testing.assert_array_equal(found, pixels[..., ::-1])


def test_frames_of_pyav(pixels):
    av = pytest.importorskip("av", reason="PyAV is not installed")
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    np.testing.assert_array_equal(checked_image(frame, "frame 0"), pixels)
    np.testing.assert_array_equal(checked_image(frame, "frame 0", bgr=True), pixels[..., ::-1])


@pytest.mark.parametrize("time", [0, 0.04, Fraction(1, 25), np.float64(1), True])
def test_frames_with_their_time(pixels, time):
    assert without_time((time, pixels)) is pixels
    assert without_time([time, pixels]) is pixels


def test_frames_without_time(pixels):
    assert without_time(pixels) is pixels
    pair = (pixels, pixels)
    assert without_time(pair) is pair
    two_rows = pixels[:2]
    assert without_time(two_rows) is two_rows
