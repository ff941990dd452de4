"""Types of arguments and results; docstrings give the shapes and units of the arrays."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Image = NDArray[np.uint8]
Flow = NDArray[np.float32]
Color = Literal["rgb", "bgr"]
