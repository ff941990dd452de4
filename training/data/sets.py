"""PairBatch on disk as tensors."""

from itertools import islice

import torch
from torch import Tensor
from torch.utils.data import Dataset

from engine.data.files import read_pair, require_flows
from engine.data.pair import PairsError
from engine.data.sources import find_source, parse_source
from engine.flow.formats import read_flow_size
from training.data.batch import PairBatch


class PairDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """The pairs of a folder, all with true flow.

    Attributes:
        name: of the data set.
        files: of each pair.

    Args:
        source: a folder as in `engine.data.sources.find_source`.
        split: the official split file selects from the pairs, where there is one.

    Raises:
        PairsError: no pairs, one without flow, or the split file does not fit them.
    """

    def __init__(self, source: str, *, split: str = "train") -> None:
        self.name = parse_source(source).data_set
        self.files = find_source(source, split=split)
        require_flows(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return image 1, image 2 (3, H, W) uint8 and flow (2, H, W) float32.

        Raises:
            PairsError: a file cannot be decoded, the three differ in size, or the flow is unknown
                at a pixel.
            OSError: a file cannot be read.
        """
        files = self.files[index]
        pair = read_pair(files)
        if not pair.valid.all():
            raise PairsError(
                f"{files.flow}: flow is unknown at {(~pair.valid).sum()} pixels; expected dense "
                "flow: remove the pair"
            )
        image1, image2, flow = (
            torch.from_numpy(array).permute(2, 0, 1)
            for array in (pair.image1, pair.image2, pair.flow)
        )
        return image1, image2, flow

    def check_one_size(self) -> tuple[int, int]:
        """Check by the headers of the flow files that all pairs have one size.

        Returns:
            (height, width).

        Raises:
            PairsError: one has another size.
            FlowFileError: a header is malformed.
            OSError: a file cannot be read.
        """
        first, *others = (pair.flow for pair in self.files if pair.flow is not None)
        expected = read_flow_size(first)
        for path in others:
            found = read_flow_size(path)
            if found != expected:
                sizes = "{}x{}, that of {} {}x{}".format(*found, first.name, *expected)
                raise PairsError(
                    f"{path}: its pair is of {sizes}; expected pairs of one size, which make a "
                    "batch: crop them, or keep them in folders of their own"
                )
        return expected


def first_pairs(dataset: PairDataset, limit: int) -> list[PairBatch]:
    """Return the first ``limit`` pairs, each a batch of one."""
    items = (dataset[index] for index in range(len(dataset)))
    return [PairBatch.all_visible(*(x[None] for x in item)) for item in islice(items, limit)]
