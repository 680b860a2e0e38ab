"""The scratch namespace of drills: topics under a prefix, a database, and processors on the replay clock.

Nothing of it has a name that production uses, so drills cannot change production's counts. It is on the configured
servers, and everything is removed at the end; `barograph drill clean` removes what an interrupted run left.
"""

from __future__ import annotations

import math
import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from barograph.contract import Contract
from barograph.contract.file import dump_contract
from confluent_kafka import KafkaError, KafkaException

from barograph_server.drills.errors import DrillError
from barograph_server.operations.dev.processors import KINDS, Processor, write_settings
from barograph_server.provisioning import apply_all
from barograph_server.settings import Settings, variable_of
from barograph_server.sketches.baseline.baseline import Baseline
from barograph_server.streams.broker.client import Admin
from barograph_server.warehouse.client import connect, identifier
from barograph_server.warehouse.operations.server import drop_database

MARK = "drill"
"""Part of the names of scratch databases and topics."""
PACES: dict[str, Any] = {"flush_s": 1.0, "write_s": 2.0, "score_s": 2.0, "report_s": 1.0, "registry_poll_s": 1.0}
"""Short intervals, because a drill replays weeks in seconds."""
STOP_S = 30.0
TIMEOUT_S = 30.0
DAY_S = 86_400


def new_run_id() -> str:
    """Return an identifier of a run, in order of time."""
    return f"{datetime.now(UTC):%Y%m%dt%H%M%S}{secrets.token_hex(2)}"


def database_prefix(settings: Settings) -> str:
    """Return the beginning of the names of scratch databases."""
    return f"{settings.warehouse.database}_{MARK}_"


def topics_prefix(settings: Settings) -> str:
    """Return the beginning of the names of scratch topics and consumer groups."""
    return f"{settings.topic_prefix}{MARK}-"


def scratch_settings(settings: Settings, run_id: str, oldest_s: float) -> Settings:
    """Return the settings of a scratch namespace.

    Args:
        oldest_s: event time of the oldest event, Unix seconds: processors must not reject it.
    """
    age_days = math.ceil((time.time() - oldest_s) / DAY_S) + 2
    overrides = {name: value for name, value in settings.processor_overrides.items() if not name.startswith("metrics_")}
    return replace(
        settings,
        warehouse=replace(settings.warehouse, database=identifier(f"{database_prefix(settings)}{run_id}")),
        topic_prefix=f"{topics_prefix(settings)}{run_id}-",
        # A pane is sealed when every partition has later events, so a replay uses one partition.
        predictions_partitions=1,
        labels_partitions=1,
        partials_partitions=1,
        clock="replay",
        retention_days=max(settings.retention_days, age_days),
        processor_overrides={**overrides, **PACES},
        grafana=None,
    )


class ScratchNamespace:
    """Topics, a database and processors that exist while this context manager is open."""

    def __init__(self, settings: Settings) -> None:
        """Describe the namespace; entering it creates nothing yet."""
        self.settings = settings
        self._stack = ExitStack()
        self._processors: list[Processor] = []

    def create(self, contracts: Sequence[Contract], baselines: Sequence[Baseline]) -> None:
        """Create topics, tables, contracts and baselines, and start the processors."""
        self._stack.callback(remove_namespace, self.settings)
        apply_all(self.settings, [(each, dump_contract(each)) for each in contracts], baselines, reason="drill")
        folder = Path(tempfile.mkdtemp(prefix="barograph-drill-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        path = folder / "processors.toml"
        write_settings(path, self.settings)
        variables = connection_variables(self.settings)
        password = self.settings.warehouse.password
        for kind in KINDS:
            processor = Processor(kind, path, password, run_dir=folder, log_dir=folder, variables=variables)
            self._stack.callback(processor.terminate, STOP_S)
            processor.start()
            self._processors.append(processor)

    def check(self) -> None:
        for processor in self._processors:
            if not processor.is_running:
                end = processor.describe_end().partition(" Its log is")[0]
                raise DrillError(f"The {processor.name} of the drill {end}")

    def __enter__(self) -> ScratchNamespace:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def connection_variables(settings: Settings) -> dict[str, str]:
    """Return the variables that hold what `write_settings` leaves out: credentials, and how to connect."""
    address = settings.warehouse
    variables = {
        variable_of("clickhouse.username"): address.username,
        variable_of("clickhouse.secure"): "true" if address.secure else "false",
    }
    if address.ca_file:
        variables[variable_of("clickhouse.ca_file")] = address.ca_file
    return variables | {variable_of(f"kafka.{name}"): value for name, value in settings.kafka.items()}


def remove_namespace(settings: Settings) -> None:
    """Drop the database, the topics and the consumer groups of a scratch namespace."""
    prefix = settings.topic_prefix
    assert MARK in prefix
    assert f"_{MARK}_" in settings.warehouse.database
    with connect(replace(settings.warehouse, database="default")) as client:
        drop_database(client, settings.warehouse.database)
    admin = Admin(settings.bootstrap_servers, settings.kafka)
    topics = [name for name in admin.client.list_topics(timeout=TIMEOUT_S).topics if name.startswith(prefix)]
    if topics:
        for name, done in admin.client.delete_topics(topics, operation_timeout=TIMEOUT_S).items():
            admin.result(done, f"delete topic {name}")
    listed = admin.result(admin.client.list_consumer_groups(request_timeout=TIMEOUT_S), "list consumer groups")
    groups = [group.group_id for group in listed.valid if group.group_id.startswith(prefix)]
    if groups:
        for name, done in admin.client.delete_consumer_groups(groups, request_timeout=TIMEOUT_S).items():
            try:
                done.result(TIMEOUT_S)
            except KafkaException as error:
                # Static members leave a group only when their session ends. Kafka then expires the empty group.
                if error.args[0].code() == KafkaError.NON_EMPTY_GROUP:
                    continue
                raise DrillError(f"Kafka cannot delete the consumer group {name}: {error.args[0].str()}.") from error
