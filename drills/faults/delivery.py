"""Faults of delivery: events that are lost, repeated, late or without traffic."""

import numpy as np
import pyarrow as pa

from barograph_server.drills.faults.expected import always, nothing
from barograph_server.drills.faults.fault import EventTables, Fault, FaultParameter, Injection, epoch_ms
from barograph_server.drills.faults.times import HOUR_MS


def repeat_events(events: EventTables, injection: Injection) -> EventTables:
    """A producer retries after a time-out although Kafka has the events: they arrive twice, with the same id."""
    table, rows = events.predictions, injection.rows(events.predictions)
    return EventTables(table.take(np.repeat(np.arange(table.num_rows), 1 + rows)), events.labels)


def delay_events(events: EventTables, injection: Injection) -> EventTables:
    """A producer loses its network and sends its queue later: events arrive late and out of order."""
    table, rows = events.predictions, injection.rows(events.predictions)
    # Rows before the delayed ones keep their order of arrival.
    arrival = np.maximum.accumulate(epoch_ms(table)) + np.where(rows, round(injection.magnitude * HOUR_MS), 0)
    return EventTables(table.take(np.argsort(arrival, kind="stable")), events.labels)


def halve_traffic(events: EventTables, injection: Injection) -> EventTables:
    """A load balancer stops sending to half of the servers."""
    table, rows = events.predictions, injection.rows(events.predictions)
    return EventTables(table.filter(pa.array(~rows)), events.labels)


def stop_traffic(events: EventTables, injection: Injection) -> EventTables:
    """The service is down, or its publisher is misconfigured: no predictions arrive."""
    return halve_traffic(events, injection)


FAULTS = (
    Fault("duplicates", repeat_events, nothing, rate=FaultParameter(0.5, "of the events", 0.0, 1.0)),
    Fault(
        "late-events",
        delay_events,
        nothing,
        magnitude=FaultParameter(6.0, "hours", 0.0, 168.0),
        rate=FaultParameter(0.2, "of the events", 0.0, 1.0),
    ),
    Fault("traffic-halved", halve_traffic, nothing, rate=FaultParameter(0.5, "of the events", 0.0, 1.0)),
    # After the silence a window covers a part of the day or week, in which values differ from those of the whole.
    Fault("silence", stop_traffic, always("silence"), always("psi-major", "output-shift")),
)
