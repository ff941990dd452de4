"""The history in the header of weights, against histories told by hand."""

import pytest

from engine.system.commit import COMMIT
from training.origin import SOURCE, origin_of


def history(data, steps, *, licence="MIT", source=SOURCE):
    return {"data": data, "steps": steps, "licence": licence, "source": source}


@pytest.mark.parametrize(
    ("before", "data", "expected"),
    [
        (None, "synthetic", history("synthetic", "5")),
        (history("synthetic", "10"), "synthetic", history("synthetic", "15")),
        (
            history("synthetic", "10"),
            "chairs:c",
            history("synthetic, then chairs:c", "10 + 5", licence="MIT and as of chairs:c"),
        ),
        (
            history("synthetic, then chairs:c", "10 + 7", licence="MIT and as of chairs:c"),
            "chairs:c",
            history("synthetic, then chairs:c", "10 + 12", licence="MIT and as of chairs:c"),
        ),
        # A path of this machine says nothing to anybody else; its last name may have an "and".
        (
            history("chairs:cats and dogs", "10", licence="as of chairs:cats and dogs"),
            "chairs:/home/somebody/cats and dogs",
            history("chairs:cats and dogs", "15", licence="as of chairs:cats and dogs"),
        ),
        (
            history("unknown", "unknown", licence="unknown", source="theirs.pth"),
            "synthetic",
            history(
                "unknown, then synthetic",
                "unknown + 5",
                licence="unknown and MIT",
                source=f"{SOURCE}, from theirs.pth",
            ),
        ),
    ],
)
def test_history(before, data, expected):
    found = origin_of(data, 5, before)
    assert found.pop("commit")
    assert found == expected


def test_the_commit_may_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMMIT, "1234567")
    assert origin_of("synthetic", 5, None)["commit"] == "1234567"
