"""What a processor is told at its start: addresses, clock, paces. Parsed once at the edge, passed explicitly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from streams.topics import Topics
from warehouse.client import Address

Clock = Literal["live", "replay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorSettings:
    """The settings of one processor."""

    instance: str
    """Stable over restarts and unique among live processors of its kind: it makes the transactional id."""
    bootstrap_servers: str
    warehouse: Address
    topics: Topics = field(default_factory=Topics)
    clock: Clock = "live"
    """`live`: idle partitions count as read up to now. `replay`: only events and `end` marks move time."""
    flush_s: float = 15.0
    """A flush of the sketcher lasts at most this long."""
    flush_events: int = 1_000_000
    """… and holds at most about this many events,"""
    flush_panes: int = 2_048
    """… and this many panes: what bounds its memory."""
    write_s: float = 10.0
    """The monitor writes unsealed panes this often."""
    revise_s: float = 60.0
    """The monitor revises a window at most this often when late events arrive."""
    score_s: float = 60.0
    """The scorer looks for new predictions and labels this often."""
    registry_poll_s: float = 10.0
    """Contracts and baselines are looked at this often."""
    report_s: float = 10.0
    session_timeout_s: float = 45.0
    transaction_timeout_s: float = 60.0
    max_poll_interval_s: float = 300.0
    """A consumer that has not polled for so long leaves its group; none does while a server is busy."""
    metadata_refresh_s: float = 30.0
    """How soon a new partition is seen."""
    metrics_host: str = "127.0.0.1"
    """Where `/healthz` and `/metrics` listen."""
    metrics_port: int | None = None
    """0: they do not. None: at the port of this kind of processor, or at a free one where that is taken."""
    kafka: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further librdkafka properties: security, sockets. May hold secrets."""
