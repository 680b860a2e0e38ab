"""The models of a live drill in production's registry and tables: registered before it, removed after it."""

import time
from collections.abc import Iterable, Sequence

from barograph.contract.file import dump_contract
from confluent_kafka import KafkaException, Producer

from barograph_server.drills.errors import DrillError
from barograph_server.drills.run.plan import DrillModel
from barograph_server.provisioning.catalogue import ALWAYS_S, BaselineChange, store_baselines, store_contracts
from barograph_server.settings import Settings
from barograph_server.streams.broker.client import explain
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations import drill_rows
from barograph_server.warehouse.queries import PREFIX

FLUSH_S = 30.0
ROUNDS = 10
"""How often rows are deleted until no processor has written any for some seconds."""
REASON = "drill"


def register(client: Client, models: Sequence[DrillModel]) -> None:
    """Apply the contracts and baselines of a drill; processors count the events of the models within ten seconds."""
    now_ms = int(time.time() * 1000)
    changes = [BaselineChange(each.baseline, each.baseline.id, ALWAYS_S, "") for each in models]
    store_baselines(client, changes, REASON, now_ms)
    store_contracts(client, ((each.contract, dump_contract(each.contract)) for each in models), now_ms)


def remove(settings: Settings, client: Client, models: Iterable[str]) -> None:
    """Withdraw the contracts of models of drills, and delete their rows and states."""
    names = sorted(models)
    assert all(name.startswith(PREFIX) for name in names)
    is_known = bool(drill_rows.registered(client) & set(names))
    for table in ("contracts", "baselines"):
        drill_rows.delete_from(client, table, names)
    publish_states(settings, dict.fromkeys(names))
    if not is_known:
        drill_rows.delete_rows(client, names)
        return
    # Until processors have read the registry again, they write rows of the models.
    processor = settings.processor()
    for _ in range(ROUNDS):
        time.sleep(processor.registry_poll_s + max(processor.write_s, processor.flush_s))
        if not drill_rows.delete_rows(client, names):
            return
    raise DrillError("Processors still write their rows.")


def publish_states(settings: Settings, states: dict[str, bytes | None]) -> None:
    """Write states of models of drills to the topic `model-health`; None removes one.

    The guard is the only writer of all other models, and its transactions would fence a second one.
    """
    if not states:
        return
    topic = settings.topics.model_health
    failures: list[KafkaException] = []
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "log_level": 3, **settings.kafka})
    for name, value in states.items():
        producer.produce(
            topic,
            key=name,
            value=value,
            on_delivery=lambda error, _: failures.append(KafkaException(error)) if error is not None else None,
        )
    if producer.flush(FLUSH_S):
        raise DrillError(f"Kafka did not accept a record of {topic} within {FLUSH_S:.0f} s.")
    if failures:
        raise DrillError(str(explain(failures[0], f"write to {topic}")))
