"""Images: validation of arrays, layout for a network, and picture files."""

from engine.images.files import (
    bytes_from_image,
    check_picture_format,
    image_from_bytes,
    images_from_bytes,
    read_image,
    read_images,
    read_picture,
    read_scene,
    write_image,
)
from engine.images.layout import network_input, padded_size
from engine.images.levels import Levels, LevelsChoice
from engine.images.padding import PADDING_MODES, PaddingMode, fit
from engine.images.validate import check_same_kind, checked_image

__all__ = [
    "PADDING_MODES",
    "Levels",
    "LevelsChoice",
    "PaddingMode",
    "bytes_from_image",
    "check_picture_format",
    "check_same_kind",
    "checked_image",
    "fit",
    "image_from_bytes",
    "images_from_bytes",
    "network_input",
    "padded_size",
    "read_image",
    "read_images",
    "read_picture",
    "read_scene",
    "write_image",
]
