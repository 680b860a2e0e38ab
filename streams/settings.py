"""Settings that all programs share, and those of one processor. Parsed once by the command and passed explicitly."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from barograph.contract.kinds import ChoiceKind, FlagKind, IntegerKind, NumberKind, TextKind

from barograph_server.streams.topics import Topics
from barograph_server.warehouse.client import Address
from barograph_server.warehouse.configuration import SECONDS, Setting
from barograph_server.warehouse.retention import DEFAULT_RETENTION_DAYS, MAX_RETENTION_DAYS

Clock = Literal["live", "replay"]

LONGEST_POLL_S = 10.0
"""Commands promise that processors pick up an applied contract within 10 seconds; a new baseline takes effect a minute
later."""

DEFAULT_PORTS = {
    **{"sketcher": 9611, "recorder": 9612, "monitor": 9613, "scorer": 9614},
    **{"guard": 9615, "otlp": 9616, "scrape": 9617, "evaluator": 9618},
}
"""Default port of the metrics of each kind of processor; if it is in use, any free port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSettings:
    """What commands and processors know of an installation: a setting here reaches all of them."""

    bootstrap_servers: Annotated[str, Setting(TextKind(), "Kafka, as `HOST:PORT,…`", default="")] = ""
    kafka: Mapping[str, str] = field(default_factory=dict, repr=False)
    """More librdkafka properties, such as those of security and sockets. May hold secrets."""
    warehouse: Address = field(default_factory=Address)
    clock: Annotated[Clock, Setting(ChoiceKind(("live", "replay")), "`live` or `replay`")] = "live"
    """`live`: idle partitions count as read up to now. `replay`: only events and `end` markers advance time."""
    retention_days: Annotated[
        int,
        Setting(
            IntegerKind(1, MAX_RETENTION_DAYS),
            "age in days from which an event is rejected when Kafka receives it; `apply` "
            "extends the TTL of tables accordingly; use the same for all processors and `load`",
        ),
    ] = DEFAULT_RETENTION_DAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSettings(SharedSettings):
    instance: str
    """Name, stable over restarts and unique among live processors of its kind; part of the transactional id."""
    topics: Topics = field(default_factory=Topics)
    flush_s: Annotated[float, Setting(SECONDS, "longest flush of the sketcher, in seconds")] = 15.0
    flush_events: Annotated[
        int, Setting(IntegerKind(1, 100_000_000), "approximate limit of events per flush; bounds the sketcher's memory")
    ] = 1_000_000
    flush_panes: Annotated[
        int, Setting(IntegerKind(1, 1_000_000), "limit of panes per flush; bounds the sketcher's memory")
    ] = 2_048
    write_s: Annotated[float, Setting(SECONDS, "seconds between writes of unsealed panes by the monitor")] = 10.0
    revise_s: Annotated[
        float, Setting(SECONDS, "shortest time between revisions of one window by late events, in seconds")
    ] = 60.0
    score_s: Annotated[
        float,
        Setting(
            SECONDS,
            "seconds between the scorer's checks for new predictions and labels; on the live clock a check that takes "
            "long is followed by a pause of three times its duration",
        ),
    ] = 60.0
    registry_poll_s: Annotated[
        float,
        Setting(
            NumberKind(0.0, LONGEST_POLL_S, above=True),
            f"seconds between reads of contracts and baselines, at most {LONGEST_POLL_S:g}",
        ),
    ] = 10.0
    report_s: Annotated[float, Setting(SECONDS, "seconds between a processor's reports to `status`")] = 10.0
    native: Annotated[
        bool,
        Setting(
            FlagKind(),
            "whether messages are fetched and plain JSON events read by `barograph-native` where it is installed",
        ),
    ] = True
    session_timeout_s: float = 45.0
    transaction_timeout_s: float = 60.0
    max_poll_interval_s: float = 300.0
    """A consumer that has not polled for so long leaves its group; none does while a server is busy."""
    metadata_refresh_s: float = 30.0
    """How soon a new partition is seen."""
    metrics_host: Annotated[
        str, Setting(TextKind(), "host that a processor's [`/healthz` and `/metrics`](operation.md) listen on")
    ] = "127.0.0.1"
    metrics_names: Annotated[
        str,
        Setting(
            TextKind(),
            "further host names under which clients reach it, separated by commas; `localhost`, the name in "
            "`metrics.host` and IP addresses need no entry",
        ),
    ] = ""
    metrics_port: Annotated[
        int | None,
        Setting(
            IntegerKind(0, 65_535),
            "their port; 0 turns them off; set it for one process, not for all of one machine",
            default=f"{min(DEFAULT_PORTS.values())} to {max(DEFAULT_PORTS.values())}, by kind",
        ),
    ] = None
    """None: the port of this kind of processor, or a free port if that one is taken."""
