"""The model of both demos of flights: the options for `infer`, its contract, and the calendar of the replay."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from barograph.contract import Arms, Contract, DeclaredConsumer, DeclaredSource, ShadowTest, Slo, Window

from barograph_server.examples.flights.features import PLANE, WEATHER
from barograph_server.profiling.infer import InferOptions, Roles

MODEL, VERSION, CANDIDATE = "flight-delay", "1", "2"
LATE = "late"
"""The positive class: the score is its probability."""
HOUR_S, DAY_S = 3600, 86_400
DAY = Window(DAY_S, HOUR_S)
WEEK = Window(7 * DAY_S, DAY_S)
ZONE = "America/New_York"

TIME_OF_DAY = "time_of_day"
MINUTE_OF_DAY = "minute of the day"
"""Its unit, by which a drill knows a time of day."""
SCHEDULE = (TIME_OF_DAY, "block_min")
ROUTE = ("distance", "origin", "dest", "carrier")
CRITICAL = frozenset({"temp", "dewp", *SCHEDULE, *PLANE, *ROUTE})

SOURCES = {
    "weather": DeclaredSource(
        owner="weather-data", system="noaa-stations", code="examples/flights/features.py", window="1h", fields=WEATHER
    ),
    "schedule": DeclaredSource(owner="network-planning", system="schedule-database", fields=SCHEDULE),
    "fleet": DeclaredSource(owner="fleet-data", system="faa-aircraft-registry", fields=PLANE),
    "routes": DeclaredSource(owner="network-planning", system="schedule-database", fields=ROUTE),
}
"""Who computes the fields, as an airline might declare it."""
CONSUMERS = {
    "gate-planning": DeclaredConsumer(owner="airport-operations", group="gate-planning", fields=("score", "class")),
    "crew-rotation": DeclaredConsumer(owner="crew-planning", group="crew-rotation", fields=("score",)),
    "punctuality-report": DeclaredConsumer(owner="finance", user="punctuality"),
}
"""Who reads what the model produces, as an airline might declare it."""

SLO = Slo(latency_ms=250.0, latency_share=0.99)
"""One call scores about a day of flights and takes 10 to 50 ms on an idle machine."""

SHADOW = ShadowTest(
    candidate=CANDIDATE, of=VERSION, copy="1-copy", margins={"accuracy": 0.02, "brier": 0.008, "missing": 0.02}
)
"""The candidate of the demo with a shadow, and how much worse it may be."""

CANDIDATE_AT = datetime(2013, 10, 1, tzinfo=UTC)
"""Version 2 and the arms come into force; its first flight leaves in the morning."""
AUTUMN = datetime(2013, 9, 22, tzinfo=UTC), datetime(2013, 11, 3, tzinfo=UTC)
"""Six whole weeks that are accepted as what is to be expected: from five on φ of a week is learned."""
ACCEPTED_AT = datetime(2013, 11, 4, tzinfo=UTC)
"""From here on autumn is the baseline. The day before is published by then, so that the range is sealed."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """Event times of the replay ↔ dates of 2013: they differ by whole weeks."""

    shift_weeks: int

    def original(self, at: datetime) -> datetime:
        """The moment of 2013 that an event time of the replay stands for."""
        return at - timedelta(weeks=self.shift_weeks)

    def replayed(self, at: datetime) -> datetime:
        """The event time that a moment of 2013 was moved to."""
        return at + timedelta(weeks=self.shift_weeks)


def infer_options(table: Path, version: str = VERSION) -> InferOptions:
    """Options for `barograph infer`, all available on its command line."""
    return InferOptions(
        table=table,
        model=MODEL,
        version=version,
        roles=Roles(
            time="at", score="score", class_="class", label="label", slices=("origin", "carrier"), critical=CRITICAL
        ),
        pane_s=HOUR_S,
        windows=(DAY, WEEK),
        timezone=ZONE,
        arms=Arms(shares={"a": 0.9, "b": 0.1}),
    )


def edit_contract(inferred: Contract, *, arms: bool, shadow: ShadowTest | None = None) -> Contract:
    """Edit the inferred contract as its owner would: confirm the positive class, set SLO and unit, declare lineage.

    Args:
        arms: whether the A/B test of version 2 has started.
    """
    assert inferred.label is not None
    return msgspec.structs.replace(
        inferred,
        fields=tuple(
            msgspec.structs.replace(field, unit=MINUTE_OF_DAY) if field.name == TIME_OF_DAY else field
            for field in inferred.fields
        ),
        label=msgspec.structs.replace(inferred.label, positive=LATE),
        declared_sources=SOURCES,
        consumers=CONSUMERS,
        slo=SLO,
        arms=inferred.arms if arms else None,
        shadow=shadow,
    )


def last_pane_end(predictions: pa.Table) -> datetime:
    last_ms = pc.max(predictions["at"].cast(pa.int64())).as_py()
    return datetime.fromtimestamp((last_ms // 1000 // HOUR_S + 1) * HOUR_S, UTC)
