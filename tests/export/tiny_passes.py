"""A network of three passes from coarse to fine, by hand, and its flow in NumPy."""

import numpy as np
import onnx
from onnx import numpy_helper

from export.graph.passes import add_coarser_passes

RANDOM = np.random.default_rng(1)
OF_IMAGES, OF_HALVED = (RANDOM.integers(-3, 4, (2, 6)).astype(np.float32) / 64 for _ in range(2))
LAST = """<ir_version: 9, opset_import: ["": 18]>
last (uint8[n,h,w,3] image1, uint8[n,h,w,3] image2, float[n,2,a,b] flow_of_pass2)
    => (float[n,h,w,2] flow, float[n,6,c,d] images_halved3, float[n,6,e,f] images_halved4) {
    images = Concat <axis=-1>(image1, image2)
    values = Cast <to=1>(images)
    planes = Transpose <perm=[0, 3, 1, 2]>(values)
    images_halved1 = AveragePool <kernel_shape=[2, 2], strides=[2, 2]>(planes)
    images_halved2 = AveragePool <kernel_shape=[2, 2], strides=[2, 2]>(images_halved1)
    images_halved3 = AveragePool <kernel_shape=[2, 2], strides=[2, 2]>(images_halved2)
    images_halved4 = AveragePool <kernel_shape=[2, 2], strides=[2, 2]>(images_halved3)
    residual = Conv(planes, weights)
    so_far = Resize(flow_of_pass2, "", scales)
    total = Add(residual, so_far)
    flow = Transpose <perm=[0, 2, 3, 1]>(total)
}"""
COARSER = """<ir_version: 9, opset_import: ["": 18]>
coarser (float[n,6,a,b] halved, float[n,2,c,d] so_far) => (float[n,2,e,f] handed_on) {
    coarse = AveragePool <kernel_shape=[2, 2], strides=[2, 2]>(halved)
    of_halved = Conv(coarse, other)
    before = Resize(so_far, "", scales)
    handed_on = Sum(of_halved, before)
}"""


def parsed(text: str, **constants: object) -> onnx.ModelProto:
    model = onnx.parser.parse_model(text)
    for name, value in constants.items():
        tensor = numpy_helper.from_array(np.asarray(value, np.float32), name)
        model.graph.initializer.append(tensor)
    return model


def model() -> onnx.ModelProto:
    """Each pass adds 1x1 convolutions of the images' block means to the flow of the one before."""
    weights, other = OF_IMAGES[:, :, None, None], OF_HALVED[:, :, None, None]
    last = parsed(LAST, weights=weights, scales=[1, 1, 16, 16])
    coarser = parsed(COARSER, other=other, scales=[1, 1, 2, 2])
    add_coarser_passes(last, coarser, 3)
    return last


def means(image: np.ndarray, stride: int) -> np.ndarray:
    batch, height, width, channels = image.shape
    shape = batch, height // stride, stride, width // stride, stride, channels
    return image.reshape(shape).mean((2, 4))


def repeated(flow: np.ndarray, times: int) -> np.ndarray:
    return flow.repeat(times, 1).repeat(times, 2)


def expected(images: np.ndarray, passes: int) -> np.ndarray:
    pair = np.concatenate([*images], axis=-1).astype(float)
    so_far = np.zeros((*means(pair, 16 << (passes - 1)).shape[:3], 2))
    for number in range(passes - 1, 0, -1):
        found = means(means(pair, 4 << number), 2) @ OF_HALVED.T
        so_far = found + repeated(so_far, 2)
    return pair @ OF_IMAGES.T + repeated(so_far, 16)
