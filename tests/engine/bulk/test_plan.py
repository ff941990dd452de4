"""Plans of extractions: which clips belong to which shard."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bulk.plan import (
    Clip,
    Shard,
    check_numbers,
    extended,
    measure,
    shard_from_json,
    shard_size,
)
from engine.errors import InputError

CLIPS = st.lists(st.integers(0, 100), max_size=30).map(
    lambda sizes: [Clip(f"{index}.mp4", size, "") for index, size in enumerate(sizes)]
)


def test_by_hand():
    clips = [Clip(name, size, "") for name, size in zip("abcd", (3, 4, 9, 1), strict=True)]
    a, b, c, d = clips
    assert extended([], clips, 7) == [Shard(0, 0, (a, b)), Shard(1, 2, (c,)), Shard(2, 3, (d,))]


@given(CLIPS, st.integers(1, 150))
def test_every_clip_once_in_order_and_in_full_shards(clips, size):
    plan = extended([], clips, size)
    assert [clip for shard in plan for clip in shard.clips] == clips
    assert [shard.number for shard in plan] == list(range(len(plan)))
    for shard in plan:
        assert shard.clips == tuple(clips[shard.first : shard.first + len(shard.clips)])
        assert len(shard.clips) == 1 or sum(clip.size for clip in shard.clips) <= size
    for one, two in itertools.pairwise(plan):
        assert sum(clip.size for clip in one.clips) + two.clips[0].size > size


@given(CLIPS, CLIPS, st.integers(1, 150), st.integers(1, 150), st.randoms())
def test_clips_that_are_added_leave_the_shards_before(clips, more, size, other, random):
    plan = extended([], clips, size)
    both = clips + [Clip(f"more/{clip.file}", clip.size, "") for clip in more]
    random.shuffle(both)
    longer = extended(plan, both, other)
    assert longer[: len(plan)] == plan
    assert {clip for shard in longer for clip in shard.clips} == set(both)
    assert extended(longer, both, size) == longer


def test_a_changed_clip_changes_its_shard_alone():
    clips = [Clip(name, 5, "before") for name in "abc"]
    plan = extended([], clips, 5)
    clips[1] = Clip("b", 50, "after")
    now = extended(plan, clips, 5)
    assert [one.digest == two.digest for one, two in zip(plan, now, strict=True)] == [1, 0, 1]


def test_a_missing_clip_is_an_error():
    plan = extended([], [Clip("a.mp4", 5, ""), Clip("b.mp4", 5, "")], 5)
    with pytest.raises(InputError, match=r"b\.mp4 was one of the clips .* List it again, or write"):
        extended(plan, [Clip("a.mp4", 5, "")], 5)


@given(st.text(), st.integers(0), st.text())
def test_a_line_of_the_plan_is_read_again(file, size, content):
    shard = Shard(3, 7, (Clip(file, size, content),))
    assert "\n" not in shard.to_json()
    assert shard_from_json(shard.to_json()) == shard


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"number": 1, "first": 0, "clips": [1]}'])
def test_another_line_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        shard_from_json(text)


def test_numbers_without_a_gap():
    clips = [Clip(name, 1, "") for name in "abc"]
    plan = extended([], clips, 2)
    assert plan == [Shard(0, 0, tuple(clips[:2])), Shard(1, 2, tuple(clips[2:]))]
    check_numbers(plan)
    for second in (Shard(2, 2, plan[1].clips), Shard(1, 3, plan[1].clips), Shard(1, 2, ())):
        with pytest.raises(ValueError, match="line 2 is not shard 1 with the clips from 2"):
            check_numbers([plan[0], second])


def test_measure(tmp_path):
    video, folder = tmp_path / "a.mp4", tmp_path / "pictures"
    video.write_bytes(b"12345")
    folder.mkdir()
    for name in ("1.png", "2.png", "notes.txt"):
        (folder / name).write_bytes(b"123")
    one, two, three = measure([video, folder, tmp_path / "missing.mp4", video])
    assert [one.size, two.size, three.size] == [5, 6, 0]
    (folder / "2.png").write_bytes(b"1234")
    assert measure([video, folder]) == [one, Clip(str(folder), 7, measure([folder])[0].content)]
    assert measure([folder])[0].content != two.content


def test_shards_give_each_worker_four():
    clips = [Clip("a", 500, ""), Clip("b", 300, "")]
    assert shard_size(clips, limit=1000, workers=2) == 101
    assert shard_size(clips, limit=64, workers=2) == 64
