"""Deeds are done when their events are through, in order, and the replay goes on when they were taken up."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from cli.demo.phases import AHEAD, PhasedReplay, ReplayPhase
from cli.demo.replay import DAY_MS
from cli.demo.stage_counts import StageCount


def table(*at_ms: int) -> pa.Table:
    return pa.table({"at": pa.array(at_ms, pa.int64()).cast(pa.timestamp("ms", "UTC"))})


def day(number: int) -> datetime:
    return datetime.fromtimestamp(number * DAY_MS // 1000, UTC)


class Play:
    """A stage with a clock by hand, two predictions and one label before each of its two acts' ends."""

    def __init__(self, sealed_until: datetime | None = None) -> None:
        self.deeds: list[str] = []
        self.now_s = 0.0
        self.sealed_s: int | None = None
        self.stage = PhasedReplay(
            [
                ReplayPhase(day(2), lambda: self.deeds.append("first"), sealed_until),
                ReplayPhase(day(4), lambda: self.deeds.append("second")),
            ],
            table(0, DAY_MS, 2 * DAY_MS, 3 * DAY_MS, 4 * DAY_MS),
            table(DAY_MS, 3 * DAY_MS),
            rest_s=3.0,
            clock=lambda: self.now_s,
        )

    def advance(self, published: int, sketched: int) -> None:
        counts = {"published": StageCount(published), "sketched": StageCount(sketched)}
        self.stage.advance(counts, lambda: self.sealed_s)

    def may_publish(self, number: int) -> bool:
        """Whether the replay would publish a day now; `stop` ends the wait of one that would not."""
        return self.stage.pace.may_publish(0, number * DAY_MS)


def test_a_deed_waits_until_all_before_it_is_published_and_sketched() -> None:
    play = Play()
    for published, sketched in ((0, 0), (2, 2), (3, 1)):
        play.advance(published, sketched)
        assert play.deeds == []
    play.advance(3, 2)
    assert play.deeds == ["first"]


def test_the_next_act_opens_when_the_deed_was_taken_up() -> None:
    play = Play()
    assert play.may_publish(1)
    assert not play.may_publish(2)
    play.advance(3, 2)
    play.now_s = 2.9
    play.advance(3, 2)
    assert not play.may_publish(2)
    play.now_s = 3.0
    play.advance(3, 2)
    assert play.may_publish(3)
    assert not play.may_publish(4)
    assert play.deeds == ["first"]


def test_after_the_last_deed_everything_is_published() -> None:
    play = Play()
    play.advance(3, 2)
    play.now_s = 3.0
    play.advance(3, 2)
    play.advance(6, 4)
    assert play.deeds == ["first", "second"]
    play.now_s = 6.0
    play.advance(6, 4)
    assert play.may_publish(1000)
    play.advance(7, 5)
    assert play.deeds == ["first", "second"]


def test_a_deed_waits_for_the_panes_that_it_needs() -> None:
    play = Play(sealed_until=day(1))
    for sealed_s in (None, DAY_MS // 1000 - 1):
        play.sealed_s = sealed_s
        play.advance(3, 2)
        assert play.deeds == []
    play.sealed_s = DAY_MS // 1000
    play.advance(3, 2)
    assert play.deeds == ["first"]


def test_the_replay_knows_the_progress_of_readers() -> None:
    play = Play()
    assert not play.stage.pace.may_publish(AHEAD, 0)
    play.advance(0, 1)
    assert play.stage.pace.may_publish(AHEAD, 0)


def test_without_acts_no_event_is_delayed() -> None:
    stage = PhasedReplay([], table(0), table(), rest_s=1.0)
    assert stage.pace.may_publish(0, 1000 * DAY_MS)
