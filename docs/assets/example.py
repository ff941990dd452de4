"""Draw the picture of the README, from the flow of the default network.

python -m training.synthetic --pairs 2 --size 384x512 --seed 3000000100 -o generated
python docs/assets/example.py generated/00002 docs/assets
"""

import sys
from pathlib import Path

import cv2
import numpy as np

import engine
from engine.flow.colour import flow_to_color
from engine.flow.formats import read_flow
from engine.flow.metrics import mean_epe
from engine.images import read_image

SCALE, GAP = 0.75, 6


def main() -> None:
    """Write example.jpg; print the error and the mean motion."""
    prefix, folder = sys.argv[1:]
    image1, image2 = (read_image(f"{prefix}_img{number}.ppm") for number in (1, 2))
    truth, _ = read_flow(f"{prefix}_flow.flo")
    flow = engine.infer(image1, image2)
    motion = np.hypot(*np.moveaxis(truth, 2, 0))
    print(f"error {mean_epe(flow, truth):.1f} px, mean motion {motion.mean():.0f} px")
    full = float(motion.max())
    pictures = [image1, *(flow_to_color(one, max_magnitude=full) for one in (truth, flow))]
    small = [
        cv2.resize(one, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_AREA) for one in pictures
    ]
    gap = np.full((len(small[0]), GAP, 3), 255, np.uint8)
    row = np.hstack([small[0], gap, small[1], gap, small[2]])
    path = str(Path(folder) / "example.jpg")
    cv2.imwrite(path, row[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])


if __name__ == "__main__":
    main()
