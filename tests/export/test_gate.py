"""The gate's choice of layers, on networks whose layers do a known harm."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine
from engine.bundle.manifest import GateResult
from engine.data.pair import Pair
from engine.errors import BackendError, BackendNotInstalledError, EngineError, HardwareMissingError
from export.int8 import gate
from export.int8.gate import Candidate, GateError, admit

# A power of two, so that its fractions are exact.
BEFORE = 128


class Build:
    """Writes nothing and remembers what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, in_float: Sequence[str]) -> Candidate:
        self.calls.append(tuple(in_float))
        # The gate does not read it. Each build's is another, as that of a TensorRT plan.
        manifest: Any = len(self.calls)
        return Candidate(tuple(in_float), Path("bundle"), manifest)


def admitted(
    harms: Mapping[str, int], distances: Mapping[str, int], limit: int
) -> tuple[Build, Candidate]:
    """`admit` where each layer in int8 adds its own error, and its own distance to fp32."""
    build = Build()

    def measured(folder: Path, backend: str, _sets: object, _step: object) -> list[GateResult]:
        assert folder == Path("bundle")
        in_int8 = harms.keys() - set(build.calls[-1])
        harm, distance = (sum(map(each.__getitem__, in_int8)) for each in (harms, distances))
        # The second backend is the worse one.
        return [
            GateResult(backend, "chairs", BEFORE, BEFORE + share * harm, None, distance, distance)
            for share in ((0.5,) if backend == "a" else (0.25, 1))
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gate, "_results", measured)
        accepted = admit(
            build, list(harms), {"chairs": []}, limit=limit / BEFORE, backends=["a", "b"]
        )
    return build, accepted


effects = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    min_size=1,
    max_size=6,
)


@given(effects, st.integers(0, 30))
def test_just_as_many_layers_stay_in_float_as_needed(
    both: dict[str, tuple[int, int]], limit: int
) -> None:
    harms, distances = ({layer: x[i] for layer, x in both.items()} for i in (0, 1))
    by_distance = sorted(both, key=lambda layer: -distances[layer])

    def harm_without(in_float: Sequence[str]) -> int:
        return sum(harm for layer, harm in harms.items() if layer not in in_float)

    if harm_without([]) > limit and min(harms.values()) > limit:
        with pytest.raises(GateError) as caught:
            admitted(harms, distances, limit)
        for layer, distance in distances.items():
            assert f" {layer} {distance:+.3f} px" in str(caught.value)
        return

    build, accepted = admitted(harms, distances, limit)

    kept, results = list(accepted.in_float), accepted.results
    assert harm_without(kept) <= limit
    for layer in kept:
        assert harm_without([other for other in kept if other != layer]) > limit
    assert kept == sorted(kept, key=by_distance.index)
    assert build.calls[0] == ()
    assert build.calls[-1] == tuple(kept)
    assert [result.backend for result in results] == ["a", "b", "b"]
    assert results[-1].epe == BEFORE + harm_without(kept)


def test_layers_follow_in_the_order_of_their_effect() -> None:
    build, accepted = admitted(
        {"small": 1, "large": 3, "medium": 3}, {"small": 1, "large": 9, "medium": 5}, 1
    )
    assert accepted.in_float == ("large", "medium")
    assert build.calls == [
        (),
        *(("small",), ("large",), ("medium",)),  # each by itself, for its effect
        *(("large",), ("large", "medium")),
        ("medium",),  # is the first one still needed?
        ("large", "medium"),
    ]


def test_what_passes_at_once_is_built_once() -> None:
    build, accepted = admitted({"a": 1, "b": 2}, {"a": 1, "b": 2}, 3)
    assert (accepted.in_float, build.calls) == ((), [()])


def test_what_became_superfluous_returns_to_int8() -> None:
    """The flow is disturbed most by the first layer, and its error by the second alone."""
    build, accepted = admitted({"a": 3, "b": 9}, {"a": 9, "b": 5}, 4)
    assert accepted.in_float == ("b",)
    assert build.calls[-1] == ("b",)
    assert accepted.results[-1].epe == BEFORE + 3


def test_the_manifest_is_that_of_the_last_build() -> None:
    """That one wrote the files: what is accepted is built again after a trial that fails."""
    build, accepted = admitted({"a": 3, "b": 3, "c": 0}, {"a": 9, "b": 5, "c": 1}, 1)
    assert build.calls[-3:] == [("a", "b"), ("b",), ("a", "b")]
    manifest: Any = accepted.manifest
    assert manifest == len(build.calls)
    assert accepted.results[-1].epe == BEFORE


def test_a_gate_that_cannot_be_met_says_what_each_layer_does() -> None:
    with pytest.raises(GateError) as caught:
        admitted({"conv1": 8, "conv2": 16}, {"conv1": 1, "conv2": 2}, 1)
    assert str(caught.value) == (
        "int8 increases the error by more than --max-epe-increase 0.781% allows: EPE at worst "
        "128.000 -> 152.000 px (+18.75%) on chairs, b, and no subset of the 2 layers meets the "
        "limit. Effect of each layer on the mean distance from the fp32 flow: conv2 +2.000 px, "
        "conv1 +1.000 px. "
        "Allow more, calibrate on pairs like those it fails on (--calibration DIR), or use "
        "--precision fp16"
    )


class FakeEngine:
    """Adds a constant to the flow that PyTorch computes, which is in the first image."""

    def __init__(self, change: float) -> None:
        self.change = change

    def __enter__(self) -> "FakeEngine":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def infer(self, image1: np.ndarray, _image2: np.ndarray) -> np.ndarray:
        flow = image1[..., :2].astype(np.float32)
        flow[..., 1] += 4
        flow[0, 0, 0, 0] += self.change
        return flow


def case(name: str = "") -> tuple[Pair, np.ndarray]:
    """2x2 pixels, of which one is unknown; fp32 is wrong by 3 px, to the right."""
    images = np.full((2, 1, 2, 2, 3), 10, np.uint8)
    reference = images[0, ..., :2].astype(np.float32)
    truth = reference.copy()
    truth[..., 0] -= 3
    truth[0, 1, 1] = np.nan
    return Pair(name, images[0], images[1], truth), reference


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, float | EngineError]], None]:
    """Let `engine.load` open a fake for each backend, or raise."""

    def patch(backends: dict[str, float | EngineError]) -> None:
        def load(_folder: Path, *, backend: str, refine: str) -> FakeEngine:
            assert refine == "none"  # the gate judges the network
            found = backends[backend]
            if isinstance(found, EngineError):
                raise found
            return FakeEngine(found)

        monkeypatch.setattr(engine, "load", load)

    return patch


def admit_fakes(limit: float, *backends: str) -> Candidate:
    sets = {"one": [case()], "two": [case(), case()]}
    return admit(Build(), ["conv1"], sets, limit=limit, backends=backends)


def test_results_by_hand(load: Callable[..., None]) -> None:
    load({"onnxruntime": 0.0, "openvino": 0.0})
    accepted = admit_fakes(0.7, "onnxruntime", "openvino")
    assert not accepted.in_float
    # The truth is 3 px away in x; int8 moves everything by 4 px in y: 5 px.
    assert accepted.results == tuple(
        GateResult(backend, pairs, 3.0, 5.0, standard_error, 4.0, 4.0)
        for backend in ("onnxruntime", "openvino")
        for pairs, standard_error in (("one, 1 pair of 2x2", None), ("two, 2 pairs of 2x2", 0.0))
    )
    with pytest.raises(
        GateError, match=r"3\.000 -> 5\.000 px \(\+66\.67%\) on one, 1 pair of 2x2, onnx"
    ):
        admit_fakes(0.6, "onnxruntime")


def test_the_change_is_known_to_its_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of 3 px become 3 + 2 and 3 + 0: by 1 px on average, each 1 px away from that."""

    class Careful(FakeEngine):
        """Exact on what it has seen before."""

        seen = False

        def infer(self, image1: np.ndarray, image2: np.ndarray) -> np.ndarray:
            flow = super().infer(image1, image2)
            flow[..., 1] -= 4 * self.seen
            self.seen = True
            return flow

    monkeypatch.setattr(engine, "load", lambda *_, **__: Careful(0.0))
    sets = {"two": [case(), case()]}
    (result,) = admit(Build(), ["a"], sets, limit=0.4, backends=["onnxruntime"]).results
    assert result.standard_error == pytest.approx(1)
    with pytest.raises(GateError, match=r"3\.000 -> 4\.000 px \(\+33\.33% ± 33\.33%\) on two"):
        admit(Build(), ["a"], sets, limit=0.3, backends=["onnxruntime"])


def test_the_99th_percentile_is_that_of_all_pixels(load: Callable[..., None]) -> None:
    load({"onnxruntime": 3.0})
    result, _ = admit_fakes(10, "onnxruntime").results
    # One pixel of four is 5 px away from fp32, the others 4.
    assert result.mean_px == 4.25
    assert result.p99_px == pytest.approx(4 + 0.97)


@pytest.mark.filterwarnings("ignore:invalid value")  # of the percentile of infinity
@pytest.mark.parametrize("change", [np.nan, np.inf])
def test_a_flow_that_is_no_number_passes_nothing(load: Callable[..., None], change: float) -> None:
    """Not even at one pixel, with the highest limit."""
    load({"onnxruntime": 0.0, "openvino": change})
    with pytest.raises(GateError, match=r"\(\+inf%\) on one, 1 pair of 2x2, openvino"):
        admit_fakes(1e9, "onnxruntime", "openvino")


def test_truth_that_is_fp32s_own_flow_leaves_no_error_to_increase(
    load: Callable[..., None],
) -> None:
    load({"onnxruntime": 0.0})
    pair, reference = case()
    perfect = Pair("", pair.image1, pair.image2, reference)
    with pytest.raises(GateError, match=r"0\.000 -> 4\.000 px \(\+inf%\)"):
        admit(Build(), ["a"], {"own": [(perfect, reference)]}, limit=9, backends=["onnxruntime"])


def test_backends_that_cannot_run_here_are_left_out(load: Callable[..., None]) -> None:
    missing, absent = HardwareMissingError("no GPU"), BackendNotInstalledError("no package")
    load({"tensorrt": missing, "onnxruntime": 0.0, "openvino": absent})
    results = admit_fakes(1, "tensorrt", "onnxruntime", "openvino").results
    assert {result.backend for result in results} == {"onnxruntime"}
    message = "none of tensorrt, openvino can run here, so the error of int8 cannot"
    with pytest.raises(GateError, match=message):
        admit_fakes(1, "tensorrt", "openvino")


def test_a_backend_that_fails_is_no_excuse(load: Callable[..., None]) -> None:
    load({"openvino": BackendError("cannot load model.onnx"), "onnxruntime": 0.0})
    with pytest.raises(BackendError, match=r"cannot load model\.onnx"):
        admit_fakes(1, "onnxruntime", "openvino")
