"""The whole pipeline with authentication and the ACLs of `barograph plan --acls`: they suffice, one less does not."""

import dataclasses
import enum
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import clickhouse_connect
import msgspec
import pandas as pd  # type: ignore[import-untyped]
import pyarrow as pa
import pytest
from barograph import Prompts, Publisher, PublishError
from barograph.contract import Contract, Field, LabelSpec
from barograph.contract.file import dump_contract
from barograph.prompts.file import parse_content
from barograph.publisher.pii import FieldHash
from confluent_kafka import TopicPartition

from barograph_server.local.child_process import PartMissingError
from barograph_server.local.clickhouse import LocalClickHouse
from barograph_server.provisioning import apply_all
from barograph_server.provisioning.access.acls import USER_PREFIX, user_acls
from barograph_server.settings import Settings
from barograph_server.sketches.baseline.baseline import Baseline, FieldBaseline, SliceCounts
from barograph_server.streams.broker.acl import Acl, KafkaRole, missing_acls, require_acls, required_acls
from barograph_server.streams.broker.client import make_consumer
from barograph_server.streams.broker.transactions import Transactions
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.monitor.state.store import WarehouseStore
from barograph_server.streams.monitor.worker import NOTHING, IncomingRecord, Worker
from barograph_server.streams.prompts.changes import Author, Draft, register_version
from barograph_server.streams.prompts.registry_change import PromptLog
from barograph_server.streams.records import Progress, encode
from barograph_server.streams.registry.registry import Registry
from barograph_server.streams.runtime.lifecycle import EXIT_STOPPED
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.streams.settings import ProcessorSettings
from barograph_server.streams.topics import Topics
from barograph_server.warehouse.client import Address, connect
from tests.support.forked_processors import Running
from tests.support.missing_dependencies import skip_without
from tests.support.operation import address, get
from tests.support.pipeline import Pipeline, simple_baseline, simple_contract
from tests.support.secure_kafka import SecureKafka, make_secure_kafka, require_openssl
from tests.support.warehouse import login

PLANTED = "planted"
"""Stands in every value that must not leave the publisher."""
KEY = b"planted key of sixteen bytes"
EMAILS = (f"ana@{PLANTED}.example", f"bo@{PLANTED}.example", f"cem@{PLANTED}.example")
HASH = FieldHash(KEY, "toy", "features.email")
N = 300
HOUR_MS = 3_600_000
BEGIN_MS = int(time.time() * 1000) // HOUR_MS * HOUR_MS - 40 * HOUR_MS


class Column(enum.Enum):
    """Column names as an enum, as some programs define them."""

    EMAIL = "email"
    SSN = "ssn"


def contract_of() -> Contract:
    contract = simple_contract(label=LabelSpec(type="bool", positive=True))
    protected = (
        Field(name="email", type="category", source="features.email", pii="hash"),
        Field(name="phone", type="category", source="context.phone", pii="truncate"),
        Field(name="ssn", type="category", source="features.ssn", pii="drop"),
    )
    return msgspec.structs.replace(contract, fields=(*contract.fields, *protected))


def baseline_of() -> Baseline:
    baseline = simple_baseline()
    retained = {"email": tuple(HASH(email) for email in EMAILS[:2]), "phone": ("+49",), "ssn": ()}
    added = []
    for name, categories in retained.items():
        cells = (0,) * (len(categories) + 1)
        slices = {partial: SliceCounts(cells=(*cells, n)) for partial, n in baseline.slice_rows.items()}
        added.append(FieldBaseline(name=name, kind="category", categories=categories, slices=slices))
    return msgspec.structs.replace(baseline, fields=(*baseline.fields, *added))


CONTRACT = contract_of()


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    require_openssl()
    result = make_secure_kafka(tmp_path_factory.mktemp("secure"))
    try:
        result.broker.start()
    except PartMissingError as error:
        skip_without(error)
    yield result
    result.broker.stop()


@dataclass(frozen=True)
class Deployment:
    """The topics and database that `apply` creates as a user with the least required ACLs."""

    kafka: SecureKafka
    topics: Topics
    address: Address

    def user(self, who: str) -> str:
        return f"{USER_PREFIX}{self.topics.prefix}{who}"

    def settings(self, who: KafkaRole, kafka: dict[str, str], *, instance: str = "one") -> ProcessorSettings:
        where = {"bootstrap_servers": self.kafka.sasl_servers, "warehouse": self.address, "topics": self.topics}
        return ProcessorSettings(instance=instance, kafka=kafka, **where)  # type: ignore[arg-type]

    def publisher(self, servers: str, user: dict[str, str]) -> Publisher:
        # Without compression, the broker's files can be read through.
        kafka, where = {**user, "compression.type": "none"}, {"topic_prefix": self.topics.prefix, "on_full": "wait"}
        return Publisher.from_contract(CONTRACT, version="1", bootstrap_servers=servers, key=KEY, kafka=kafka, **where)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def deployment(kafka: SecureKafka, engine: LocalClickHouse) -> Iterator[Deployment]:
    name = f"s{uuid.uuid4().hex[:10]}"
    topics = Topics(f"{name}-")
    address = engine.address(name)
    kafka.grant(user_acls(topics, [CONTRACT]))
    settings = Settings(
        bootstrap_servers=kafka.sasl_servers,
        kafka=kafka.add_user(f"{USER_PREFIX}{topics.prefix}apply"),
        warehouse=address,
        topic_prefix=topics.prefix,
        predictions_partitions=2,
        labels_partitions=2,
        partials_partitions=2,
    )
    apply_all(settings, [(CONTRACT, dump_contract(CONTRACT))], [baseline_of()])
    assert apply_all(settings, [(CONTRACT, dump_contract(CONTRACT))]).is_empty
    yield Deployment(kafka, topics, address)
    with connect(engine.address("default")) as client:
        client.command(f"DROP DATABASE IF EXISTS {name}")


def publish(publisher: Publisher, start: int, n: int) -> None:
    """Publish predictions and labels with secrets, by call and by table, and an end marker."""
    features, contexts = [], []
    for i in range(start, start + n):
        features.append({"x": i / N, "k": i % 5, "flag": i % 2 == 0, "colour": "red", **personal(i)})
        contexts.append({"region": "north", "phone": f"+49 {PLANTED} {i}"})
    for i in range(n // 2):
        publisher.prediction(id=f"e{start + i}", features=features[i], context=contexts[i], at=at_ms(start + i))
    rows = range(n // 2, n)
    columns: dict[str, Any] = {"id": [f"e{start + i}" for i in rows], "at": [at_ms(start + i) for i in rows]}
    columns |= {f"features.{name}": [features[i][name] for i in rows] for name in features[0]}
    columns |= {f"context.{name}": [contexts[i][name] for i in rows] for name in contexts[0]}
    publisher.predictions(pa.table(columns))
    for i in range(start, start + n):
        publisher.label(id=f"e{i}", label=i % 3 == 0, at=at_ms(i) + HOUR_MS)
    publisher.flush(60)
    publisher.publish_end_marker(timeout_s=30)


def personal(i: int) -> dict[str, str]:
    return {"email": EMAILS[i % len(EMAILS)], "ssn": f"{PLANTED}-ssn-{i}"}


def at_ms(i: int) -> int:
    return BEGIN_MS + i * 60_000


def publish_malformed(publisher: Publisher) -> None:
    """What becomes a dead letter with its bytes, or is refused by the publisher with a message."""
    features, context = personal(0), {"phone": f"+49 {PLANTED}"}
    odd_keys: dict[Any, Any] = {Column.EMAIL: EMAILS[0], Column.SSN: PLANTED}
    long_ago = BEGIN_MS - 500 * 24 * HOUR_MS
    publisher.prediction(id="old", at=long_ago, features=features, context=context)
    publisher.prediction(id="keys", at=long_ago, features=odd_keys)
    publisher.prediction(id="list", at=long_ago, features={"email": [PLANTED], "ssn": {"a": PLANTED}})
    publisher.predictions(
        pa.table({"id": ["row"], "at": [long_ago], "email": [EMAILS[0]], "ssn": [PLANTED], "phone": [PLANTED]})
    )
    publisher.label(id="old", label=True, at=long_ago)
    observed = publisher.observe(id="failed", at=at_ms(0), features=features, context=context)
    with pytest.raises(ValueError, match="made up"), observed:
        raise ValueError(f"made up of {PLANTED}")
    with pytest.raises(PublishError) as caught:
        publisher.predictions(pd.DataFrame({"id": ["a", "b"], "email": [3, EMAILS[0]]}))
    assert PLANTED not in str(caught.value)
    assert PLANTED not in repr(publisher.stats)
    publisher.flush(60)


MALFORMED = 4
"""Predictions of `publish_malformed` that become dead letters; so does one label."""


@pytest.fixture(scope="module")
def run(kafka: SecureKafka, deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    topics, servers, folder = deployment.topics, kafka.sasl_servers, tmp_path_factory.mktemp("run")
    pipeline = Pipeline(kafka.broker.bootstrap_servers, deployment.address, topics.prefix, folder)
    by_password = {"sketcher": "SCRAM-SHA-256", "monitor": "SCRAM-SHA-512"}
    for kind, mechanism in by_password.items():
        pipeline.start(kind, bootstrap_servers=servers, kafka=kafka.add_user(deployment.user(kind), mechanism))
    pipeline.start("recorder", bootstrap_servers=kafka.mtls_servers, kafka=kafka.certified(deployment.user("recorder")))
    with deployment.publisher(servers, kafka.add_user(deployment.user("publisher-toy"))) as by_call:
        publish(by_call, 0, N)
        publish_malformed(by_call)
    counted = "SELECT sum(n) = {} AND min(sealed) FROM volume FINAL WHERE slice = 'all'"
    pipeline.wait_rows(counted.format(N + 1), "panes that the monitor judged by password")
    pipeline.kill("monitor-0")
    pipeline.start("monitor", bootstrap_servers=kafka.mtls_servers, kafka=kafka.certified(deployment.user("monitor")))
    with deployment.publisher(kafka.mtls_servers, kafka.certified(deployment.user("publisher-toy"))) as certified:
        publish(certified, N, N)
    pipeline.wait_rows(counted.format(2 * N + 1), "panes that the monitor judged by certificate")
    for table, rows in (("predictions", 2 * N + 1), ("labels", 2 * N)):
        pipeline.wait_rows(f"SELECT count() = {rows} FROM {table} FINAL", f"raw {table}")
    pipeline.wait_rows("SELECT count() > 0 FROM processors", "reports")
    yield pipeline
    pipeline.stop()


@pytest.mark.smoke
def test_the_required_acls_are_enough(run: Pipeline) -> None:
    topics = run.topics
    for topic, n_dead in ((topics.predictions_dead, MALFORMED), (topics.labels_dead, 1)):
        reasons = [dict(message.headers())["reason"] for message in run.read_all(topic)]
        assert reasons == [b"too-old"] * n_dead, topic
    [(n,)] = run.rows("SELECT sum(n) FROM panes FINAL WHERE field = 'x' AND slice = 'all'")
    assert n == 2 * N + 1
    retained = run.rows("SELECT DISTINCT strings['email'] FROM predictions FINAL ORDER BY 1")
    assert {value for (value,) in retained} == {HASH(email) for email in EMAILS}


@pytest.mark.smoke
def test_no_secret_is_found_anywhere(run: Pipeline, kafka: SecureKafka, engine: LocalClickHouse) -> None:
    hashed = HASH(EMAILS[0]).encode()
    password = run.address.password.encode()
    leaks, leak_kinds = set(), set()
    for where, data in everything(run, kafka, engine):
        leaks |= {where for secret in (PLANTED.encode(), password, b"secret-of-", KEY) if secret in data}
        # Every kind of store has its content, so the check has read it and would find a secret.
        expected = (hashed, b'"event": "started"', b"barograph_processor_info")
        leak_kinds |= {where.partition(" ")[0] for each in expected if each in data}
    assert leaks == set()
    assert leak_kinds == {"topic", "file", "table", "log", "metric"}


def everything(run: Pipeline, kafka: SecureKafka, engine: LocalClickHouse) -> Iterator[tuple[str, bytes]]:
    """All outputs of the run by location: messages, files of the broker, rows, metrics, logs."""
    for topic in run.topics.all:
        for message in run.read_all(topic):
            headers = b"".join(value for _, value in message.headers() or [])
            yield f"topic {topic}", (message.key() or b"") + (message.value() or b"") + headers
    for path in sorted(kafka.broker.data_dir.rglob("*")):
        if path.is_file():
            yield f"file {path.name}", path.read_bytes()
    tables = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine != 'View'"
    where = run.address
    with clickhouse_connect.get_client(**login(where), database=where.database) as driver:
        for (name,) in run.rows(tables):
            yield f"table {name}", driver.raw_query(f"SELECT * FROM {name}", fmt="TSVRaw")
    for name in run.processes:
        for request in ("/metrics", "/healthz"):
            yield f"metric {name}{request}", get(address(run, name), request)[1].encode()
    for path in [*run.log_dir.glob("*.log"), kafka.broker.log_path, engine.log_path]:
        yield f"log {path.name}", path.read_bytes()


def acl_of(deployment: Deployment, who: KafkaRole, operation: str, name: str) -> Acl:
    """The required right of a user on a topic, group or transactional id, named without the prefix."""
    required, name = required_acls(who, deployment.topics), f"{deployment.topics.prefix}{name}"
    (acl,) = (acl for acl in required if (acl.operation, acl.name) == (operation, name))
    return acl


def without(kafka: SecureKafka, deployment: Deployment, who: KafkaRole, lacked: Acl, user: str) -> dict[str, str]:
    if rest := [right for right in required_acls(who, deployment.topics) if right != lacked]:
        kafka.grant_acls(user, rest)
    return kafka.add_user(user)


def test_a_processor_reports_a_missing_acl(kafka: SecureKafka, deployment: Deployment, tmp_path: Path) -> None:
    """Each kind of right, and each kind of processor."""
    lacking: tuple[tuple[KafkaRole, str, str], ...] = (
        ("sketcher", "Write", "sketcher-"),
        ("recorder", "Read", "recorder"),
        ("monitor", "Read", "partials"),
    )
    pipeline = Pipeline(kafka.broker.bootstrap_servers, deployment.address, deployment.topics.prefix, tmp_path)
    started: list[tuple[str, Acl, Running]] = []
    for who, operation, name in lacking:
        instance, lacked = f"lacking-{who}", acl_of(deployment, who, operation, name)
        user = without(kafka, deployment, who, lacked, instance)
        process = pipeline.start(who, instance, bootstrap_servers=kafka.sasl_servers, kafka=user)
        started.append((instance, lacked, process))
    for instance, lacked, process in started:
        assert process.wait(120) == EXIT_STOPPED, pipeline.log(instance)
        assert f"lacks {lacked}. `barograph plan --acls`" in pipeline.log(instance), pipeline.log(instance)


@pytest.mark.parametrize("who", get_args(KafkaRole))
def test_each_missing_acl_is_reported(kafka: SecureKafka, deployment: Deployment, who: KafkaRole) -> None:
    for i, lacked in enumerate(required_acls(who, deployment.topics)):
        if lacked.resource == "transactional-id":
            continue  # nobody can ask for it; it shows when transactions start
        user = without(kafka, deployment, who, lacked, f"{who}-but-{i}")
        result = missing_acls(deployment.settings(who, user), who)
        if lacked.operation == "Alter":
            # Without it the topic cannot be described, and the broker returns no permitted operations.
            assert lacked in result
            assert {right.name for right in result} == {lacked.name}
        else:
            assert result == [lacked]


def test_prompts_are_written_and_followed_with_the_required_acls(kafka: SecureKafka, deployment: Deployment) -> None:
    users: dict[KafkaRole, dict[str, str]] = {}
    both: tuple[KafkaRole, ...] = ("prompts", "serving")
    for who in both:
        kafka.grant_acls(deployment.user(who), required_acls(who, deployment.topics))
        users[who] = kafka.add_user(deployment.user(who))
    log = PromptLog(deployment.settings("prompts", users["prompts"]))
    draft = Draft(parse_content("name: answer\ntemplate: '{{question}}'\n"), "answer.yaml")
    record, _ = register_version(log.lead(), draft, Author("ana", 1))
    log.publish([record])
    servers, prefix = kafka.sasl_servers, deployment.topics.prefix
    with Prompts(bootstrap_servers=servers, topic_prefix=prefix, kafka=users["serving"]) as prompts:
        assert prompts.wait(60)
        assert prompts.get("answer", version=1).render(question="why?") == "why?"
    with pytest.raises(ProcessorError, match=f"lacks Write on transactional id {prefix}prompts-leader"):
        PromptLog(deployment.settings("prompts", users["serving"])).lead()


def test_a_revoked_acl_stops_the_processor(kafka: SecureKafka, deployment: Deployment) -> None:
    lacked = acl_of(deployment, "sketcher", "Write", "predictions.dead")
    user = without(kafka, deployment, "sketcher", lacked, "robbed")
    settings = deployment.settings("sketcher", user, instance="robbed")
    transactions = Transactions(settings, "sketcher", Report("sketcher", "robbed"))
    transactions.start()
    consumer = make_consumer(settings, "sketcher")
    message = (deployment.topics.predictions_dead, {"value": b"a dead letter"})
    with pytest.raises(ProcessorError, match=f"lacks {lacked}"):
        transactions.commit(
            [message], [TopicPartition(deployment.topics.predictions, 0, 0)], consumer.consumer_group_metadata()
        )
    consumer.close()


def test_a_monitor_that_cannot_dead_letter_acknowledges_nothing(kafka: SecureKafka, deployment: Deployment) -> None:
    lacked = acl_of(deployment, "monitor", "Write", "partials.dead")
    user = without(kafka, deployment, "monitor", lacked, "muzzled")
    settings = dataclasses.replace(deployment.settings("monitor", user), write_s=0.0)
    report = Report("monitor", "muzzled")
    with connect(deployment.address) as client:
        worker = Worker(settings, WarehouseStore(client), Registry, lambda: None, ("id", 2), report)
        progress = encode(Progress(source_topic_id="t", source_partitions=1, counted_at_ms=0, ranges=[]))
        # The broker's answer may come before the first dead letter.
        records = (IncomingRecord(0, 0, b"no record", 0), IncomingRecord(0, 1, progress, 0))
        acknowledged: list[object] = []
        with pytest.raises(ProcessorError, match=f"lacks {lacked}"):
            acknowledged.extend(worker.handle(record) for record in records)
        assert acknowledged in ([], [NOTHING])


def test_a_failed_authentication_is_explained(kafka: SecureKafka, deployment: Deployment) -> None:
    user = kafka.add_user(deployment.user("sketcher"))
    for changes, advice in (
        ({"sasl.password": "not-this-one"}, "BAROGRAPH_KAFKA_SASL_PASSWORD"),
        ({"ssl.ca.location": ""}, "ssl.ca.location"),
    ):
        began_s = time.monotonic()
        with pytest.raises(ProcessorError) as caught:
            require_acls(deployment.settings("sketcher", user | changes), "sketcher")
        assert advice in str(caught.value)
        assert "not-this-one" not in str(caught.value)
        # A processor waits for an unavailable broker, but not for one that rejects it.
        assert time.monotonic() - began_s < 20


def test_a_publisher_without_the_acl_reports_it(kafka: SecureKafka, deployment: Deployment) -> None:
    with pytest.raises(PublishError, match="authorization failed"):
        deployment.publisher(kafka.sasl_servers, kafka.add_user("nobody"))
