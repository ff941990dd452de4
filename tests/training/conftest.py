"""Training that takes seconds: a narrow network and small validation pairs."""

from dataclasses import replace

import pytest

from training.networks import NETWORKS
from training.networks.flownets import FlowNetS
from training.synthetic.render import SyntheticPairs


@pytest.fixture
def narrow_network(small_validation: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network "narrow", FlowNetS with an eighth of its channels."""
    entry = replace(NETWORKS["flownets_slim"], build=lambda: FlowNetS(width=1 / 8))
    monkeypatch.setitem(NETWORKS, "narrow", entry)


@pytest.fixture
def small_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation pairs of 64x64."""
    monkeypatch.setattr(
        "training.validation.SyntheticPairs",
        lambda *_, device: SyntheticPairs(64, 64, device=device),
    )
