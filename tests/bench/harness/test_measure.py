import numpy as np

from bench.data import PairSet
from bench.harness.measure import AT_ONCE, _chunks, _Recorder, _together, steps
from bench.harness.plan import Row
from engine.data import files
from engine.data.pair import Pair
from engine.data.sources import find_source
from tests.support.pictures import write_pair

REFERENCE = Row("net", "pytorch-eager", "fp32", None, 1)
OTHER = Row("net", "onnxruntime", "fp32", None, 1)


def test_few_pairs_are_in_memory(tmp_path, monkeypatch):
    for number in range(20):
        write_pair(tmp_path, f"{number:05}", 64, 64 + number)
    found = tuple(find_source(str(tmp_path)))
    pairs = PairSet("a", "a", found, tuple((64, 64 + i) for i in range(20)), 20)
    assert pairs.largest == (64, 83)
    reads = []
    read = files._read_picture
    monkeypatch.setattr(files, "_read_picture", lambda path: reads.append(path) or read(path))
    chunks = _chunks(pairs, None, AT_ONCE)
    first = next(chunks)
    assert [pair.size for pair in first] == [(64, 64 + i) for i in range(AT_ONCE)]
    assert len(reads) == 2 * AT_ONCE
    assert [len(chunk) for chunk in chunks] == [8, 4]
    assert {pair.size for chunk in _chunks(pairs, (32, 48), 8) for pair in chunk} == {(32, 48)}
    assert steps([OTHER, REFERENCE], pairs=pairs, rounds=10) == 2 * 11 + 3


def test_chunks_are_whole_batches():
    def rows(*batches):
        return [Row("net", "onnxruntime", "fp32", (64, 64), batch) for batch in batches]

    assert [_together(rows(*batches)) for batches in ((1,), (1, 4), (3,), (16,))] == [8, 8, 6, 16]


def test_a_reference_that_ended_is_not_compared_with_other_pairs():
    image = np.zeros((1, 1, 3), np.uint8)
    first, second = ([Pair("a", image, image, np.zeros((1, 1, 2), np.float32))] for _ in range(2))
    ones = [np.ones((1, 1, 2), np.float32)]
    recorder = _Recorder(REFERENCE)
    recorder(REFERENCE, first, ones)
    recorder(OTHER, first, ones)
    recorder(OTHER, second, [3 * ones[0]])
    assert recorder.errors[OTHER].distance == 0
