"""Publishes the events of one model of a live drill at the times at which they arrive."""

from __future__ import annotations

from barograph import Publisher

from barograph_server.batch.backfill.account import Accountant, SentEvents
from barograph_server.drills.errors import DrillError
from barograph_server.drills.faults import EventTables
from barograph_server.drills.faults.fault import epoch_ms
from barograph_server.drills.live_times import label_arrivals, prediction_arrivals
from barograph_server.drills.run.plan import DrillModel
from barograph_server.settings import Settings
from barograph_server.warehouse.client import Client

FLUSH_S = 60.0


class LiveStream:
    """Publishes the events of one model at the times at which they arrive."""

    def __init__(
        self, settings: Settings, client: Client, model: DrillModel, events: EventTables, recorded: EventTables
    ) -> None:
        self._accountant = Accountant(client, model.contract, settings.topics, settings.partials_partitions)
        self._events = events
        self._arrivals = prediction_arrivals(events.predictions, recorded.predictions), label_arrivals(events.labels)
        self.end_ms = int(epoch_ms(recorded.predictions).max())
        self._next = [0, 0]
        self._n_accepted = [0, 0]
        self._publisher = Publisher.from_contract(
            model.contract,
            version=model.baseline.version,
            bootstrap_servers=settings.bootstrap_servers,
            on_full="wait",
            topic_prefix=settings.topic_prefix,
            kafka=settings.kafka,
        )

    def publish_until(self, now_ms: int) -> None:
        """Publish the events that have arrived by now."""
        sinks = self._publisher.predictions, self._publisher.labels
        tables = self._events.predictions, self._events.labels
        for i, (sink, table, arrivals) in enumerate(zip(sinks, tables, self._arrivals, strict=True)):
            end = int(arrivals.searchsorted(now_ms, "right"))
            if end > self._next[i]:
                self._n_accepted[i] += sink(table.slice(self._next[i], end - self._next[i]))
                self._next[i] = end

    def close(self) -> None:
        """Wait until Kafka has all events."""
        self._publisher.flush(FLUSH_S)
        self._publisher.close()

    def settle(self, timeout_s: float) -> None:
        """Wait until the processors have read the events: they would dead-letter those of a model that is removed."""
        n_predictions, n_labels = self._n_accepted
        sent = SentEvents(n_predictions, n_labels, self._publisher.offset_ranges)
        account = self._accountant.wait(sent, timeout_s)
        if account.unknown:
            raise DrillError(f"{'; '.join(account.unknown)}.")
