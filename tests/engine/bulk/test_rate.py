"""Speed and time left of an extraction."""

from engine.bulk.plan import Clip, Shard
from engine.bulk.rate import Rate
from engine.bulk.worker import Done


def test_the_time_left_is_that_of_the_bytes_left():
    sizes = (100, 100, 500, 300)
    seconds = [0.0]
    plan = [Shard(0, 0, tuple(Clip(str(index), size, "") for index, size in enumerate(sizes)))]
    rate = Rate(plan, clock=lambda: seconds[0])
    rate.add(Done(0, 0, {}, computed=False))
    assert (rate.clips_per_second(), rate.seconds_left()) == (0, None)
    seconds[0] = 10.0
    rate.add(Done(0, 1, {}, computed=True))
    assert (rate.clips, rate.clips_per_second(), rate.seconds_left()) == (2, 0.1, 80)
    assert str(rate) == "0.10 clips/s, 0:01:20 left"
    seconds[0] = 120.0
    rate.add(Done(0, 2, {}, computed=True))
    assert str(rate) == "0.02 clips/s, 0:01:00 left"


def test_clips_without_content_tell_nothing():
    plan = [Shard(0, 0, (Clip("missing", 0, ""), Clip("a", 10**9, ""), Clip("text", 4, "")))]
    rate = Rate(plan, clock=iter(range(9)).__next__)
    rate.add(Done(0, 0, {}, computed=True))
    rate.add(Done(0, 2, {}, computed=True))
    assert rate.seconds_left() is None
