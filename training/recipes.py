"""Trainings as defaults of `training.config.TrainingConfig`, by their names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What the papers have in common: Adam with betas 0.9 and 0.999, and no average of the weights.
_ADAM = {"optimizer": "adam", "lr": 1e-4, "batch_size": 8, "ema": 0.0}


@dataclass(frozen=True)
class Recipe:
    """Defaults of a run; options on the command line override them.

    Attributes:
        source: where it is from.
        options: values by field of `training.config.TrainingConfig`.
        validates: whether the error is also reported on the validation split of the training data.
    """

    source: str
    options: Mapping[str, Any]
    validates: bool = False


RECIPES = {
    "coarse_to_fine": Recipe(
        "this project: motion from zero to 150 px of 512, and what cameras do to frames",
        {
            "network": "coarse_to_fine_slim",
            "scenes": "camera",
            "degradation": True,
            "lr": 3e-4,
            "width": 384,
        },
    ),
    # Crops and decay: FlowNetPytorch's main.py; the network learns the flow of Flying Chairs.
    "chairs": Recipe(
        "S_long of FlowNet 2.0 (arXiv 1612.01925)",
        {
            **_ADAM,
            "network": "flownets",
            "steps": 1_200_000,
            "schedule": "s_long",
            "weight_decay": 4e-4,
            "height": 320,
            "width": 448,
        },
        validates=True,
    ),
    # Its table: EPE 8.04 (training and validation pairs), 7.0 (test pairs), 0.0107 s an image. Its
    # loss is the error of the finest flow alone and its images are not centred; here as always.
    "chairs1485": Recipe(
        "course project, https://github.com/tsjadambaa/cv_group6, branch cv_lab6",
        {
            **_ADAM,
            "network": "flownets",
            "epochs": 20,
            "schedule": "constant",
            "weight_decay": 0.0,
            "height": 384,
            "width": 512,
            "augmentation": False,
        },
        validates=True,
    ),
}
