import ctypes
import gc
import logging
import re
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import confluent_kafka
import pytest
from barograph.publisher.outbox import Outbox, PublishError
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from structlog.testing import capture_logs

from barograph_server.errors import SettingsError
from barograph_server.settings import load_settings
from barograph_server.streams.broker.assigned_consumer import AssignedConsumer, Rebalanced
from barograph_server.streams.broker.client import Admin, fetch
from barograph_server.streams.broker.properties import may_hold_secret
from barograph_server.streams.broker.transactions import TransactionDropped, Transactions
from barograph_server.streams.errors import ProcessorError
from barograph_server.streams.prompts.registry_change import PromptLog
from barograph_server.streams.runtime.lifecycle import EXIT_STUCK
from barograph_server.streams.runtime.metrics_report import Report
from barograph_server.warehouse.operations import metrics
from tests.support.fake_consumer import TOPIC, FakeConsumer, FakeMessage, assigned_consumer, failure, fake_settings
from tests.support.pipeline import wait_for


class FakeAdmin:
    """An admin and its client of librdkafka: a poll takes a second, and reports one error or completes the request."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.admin = Admin("127.0.0.1:1", {}, monotonic=lambda: self.now_s)
        self.admin.client = cast(Any, self)

    def request(self, *steps: Any) -> str:
        self.steps, self.future = list(steps), Future[str]()
        return str(self.admin.result(self.future, "describe topic t"))

    def poll(self, _timeout_s: float) -> None:
        self.now_s += 1.0
        if not self.steps:
            return
        step = self.steps.pop(0)
        if isinstance(step, KafkaError):
            self.admin._failure.record(step)
        elif isinstance(step, KafkaException):
            self.future.set_exception(step)
        else:
            self.future.set_result(step)


WRONG_PASSWORD = KafkaError(KafkaError._AUTHENTICATION, "SASL authentication failed")
NO_TLS = KafkaError(KafkaError._SSL, "handshake failed")
DOWN = KafkaError(KafkaError._TRANSPORT, "refused")


@pytest.mark.parametrize(
    ("steps", "advice"),
    [
        ([WRONG_PASSWORD], "BAROGRAPH_KAFKA_SASL_PASSWORD"),
        ([NO_TLS], "ssl.ca.location"),
        ([WRONG_PASSWORD, KafkaException(KafkaError(KafkaError._TIMED_OUT))], "BAROGRAPH_KAFKA_SASL_PASSWORD"),
    ],
)
def test_failed_authentication_is_reported_before_and_after_the_request_times_out(steps: Any, advice: str) -> None:
    with pytest.raises(ProcessorError, match=advice):
        FakeAdmin().request(*steps)


def test_a_broker_that_is_down_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    admin = FakeAdmin()
    assert admin.request(DOWN, DOWN, "answer") == "answer"
    assert admin.request(DOWN, "answer") == "answer"
    assert caplog.messages == ["Kafka does not answer; this is retried for a while. refused"]


def test_an_earlier_failure_does_not_concern_a_later_request() -> None:
    admin = FakeAdmin()
    assert admin.request(NO_TLS, "answer") == "answer"
    assert admin.request(DOWN, DOWN, DOWN, DOWN, DOWN, "slow") == "slow"
    missing = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    with pytest.raises(KafkaException) as caught:
        admin.request(NO_TLS, missing)
    assert caught.value is missing


def test_a_client_is_destroyed_with_its_last_reference_names_unknown_settings_and_returns_errors() -> None:
    gc.disable()
    try:
        client = weakref.ref(Admin("127.0.0.1:1", {}).client)
        assert client() is None
    finally:
        gc.enable()
    with pytest.raises(ProcessorError, match=r"accept the client's settings.*no.such.property"):
        Admin("127.0.0.1:1", {"no.such.property": "1"})
    end = failure(KafkaError._PARTITION_EOF)
    assert fetch(cast(Any, FakeConsumer([[end]])), 10, 0.1, "read predictions") == [end]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)), "describe topic .*prompts"),
        (SimpleNamespace(topic_id="t", partitions=[0, 1]), "prompts has 2 partitions, .* delete the topic, run `barog"),
    ],
)
def test_prompts_are_not_read_from_a_topic_that_is_missing_or_has_several_partitions(
    monkeypatch: pytest.MonkeyPatch, answer: Any, problem: str
) -> None:
    described = Mock(result=Mock(side_effect=[answer]))
    described.client.describe_topics.return_value = {fake_settings().topics.prompts: None}
    monkeypatch.setattr("barograph_server.streams.broker.client.Admin", lambda *_, **__: described)
    with pytest.raises(ProcessorError, match=problem):
        PromptLog(fake_settings()).read()


@pytest.mark.parametrize("hangs", [True, False])
def test_a_transaction_that_hangs_ends_its_process(hangs: bool) -> None:
    let, ended = threading.Event(), list[int]()

    def end(code: int) -> None:
        ended.append(code)
        let.set()

    stuck_s = 0.05 if hangs else 30.0
    transactions = Transactions(fake_settings(), "sketcher", Report("sketcher", "a"), stuck_s=stuck_s, end=end)
    transactions._producer = Mock(send_offsets_to_transaction=lambda *_: let.wait(30))
    if not hangs:
        let.set()
    transactions.commit([], [], None)
    assert ended == ([EXIT_STUCK] if hangs else [])


TOPICS = ("labels", "predictions")


def read(consumer: AssignedConsumer) -> list[tuple[int, int]]:
    portion = consumer.read(consumer.membership())
    return [at for _, each in portion.messages for at in zip(each.partition, each.offset, strict=True)]


def test_a_fenced_consumer_stops_its_processor_although_its_partitions_are_revoked() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 0})
    text = "Static consumer fenced by other consumer with same group.instance.id"
    fake.fetches = [[failure(KafkaError._FATAL, text=text)]]
    fake.during_fetch = lambda: fake.on_revoke(fake, [])
    with pytest.raises(ProcessorError, match="give each its own --instance"):
        consumer.read(consumer.membership())


def test_a_rebalance_during_a_fetch_voids_the_flush_and_its_messages() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 5})
    membership = consumer.membership()
    fake.fetches = [[FakeMessage(5)], []]

    def rebalance() -> None:
        fake.on_revoke(fake, [])
        fake.on_assign(fake, [TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)])

    fake.during_fetch = rebalance
    with pytest.raises(Rebalanced):
        consumer.read(membership)
    fake.during_fetch = lambda: None
    consumer.restart()
    assert consumer.positions == {(TOPIC, 0): 5, (TOPIC, 1): 0}
    assert consumer.buffered == 0, "they are fetched again"
    with pytest.raises(Rebalanced):
        consumer.read(membership)


def test_a_fetch_raises_what_its_rebalance_callback_raised() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 5})
    fake.during_fetch = lambda: fake.on_assign(fake, [TopicPartition(TOPIC, 1)])
    fake.committed = fail  # type: ignore[method-assign]
    with pytest.raises(ProcessorError, match="The broker is down"):
        consumer.read(consumer.membership())
    with pytest.raises(ProcessorError, match="The broker is down"):
        consumer.keep_polling(consumer.membership(), 0)


def test_an_error_of_the_last_callback_is_logged() -> None:
    fake = FakeConsumer()
    with capture_logs() as lines:
        consumer = assigned_consumer(fake, {(TOPIC, 0): 5})
        fake.unassign = fail  # type: ignore[method-assign]
        fake.on_revoke(fake, [])
        consumer.close()
    assert fake.closed
    assert [line["error"] for line in lines if line["log_level"] == "warning"] == ["The broker is down."]


def fail(*_: Any, **__: Any) -> Any:
    raise ProcessorError("The broker is down.")


def test_messages_before_the_position_or_of_other_partitions_are_skipped_and_errors_returned() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {("labels", 0): 3, (TOPIC, 0): 5}, topics=TOPICS)
    labels = [FakeMessage(offset, b"x", 0, "labels") for offset in (2, 3, 4)]
    error = KafkaError(KafkaError._TRANSPORT)
    failed = FakeMessage(6, b"x", 0, TOPIC, error)
    fake.fetches = [[*labels, FakeMessage(5), failed, FakeMessage(0, b"x", 1), FakeMessage(7), FakeMessage(5)]]
    portion = consumer.read(consumer.membership())
    assert consumer.positions == {("labels", 0): 5, (TOPIC, 0): 8}
    assert portion.errors == [(error, (TOPIC, 0))]
    offsets = {topic: list(zip(each.partition, each.offset, strict=True)) for topic, each in portion.messages}
    assert offsets == {"labels": [(0, 3), (0, 4)], TOPIC: [(0, 5), (0, 7)]}


def test_the_end_of_a_partition_moves_the_position_and_a_full_fetch_means_more() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 5, (TOPIC, 1): 9})
    ends = [failure(KafkaError._PARTITION_EOF, partition, offset=8) for partition in (0, 1, 2)]
    fake.fetches = [[FakeMessage(5), *ends]]
    assert read(consumer) == [(0, 5)]
    assert consumer.positions == {(TOPIC, 0): 8, (TOPIC, 1): 9}, "never back, and no partition of others"
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 0}, poll_messages=2)
    fake.fetches = [[FakeMessage(0), FakeMessage(1)], [FakeMessage(2)]]
    assert (read(consumer), consumer.has_more) == ([(0, 0), (0, 1)], True)
    assert (read(consumer), consumer.has_more) == ([(0, 2)], False)


def test_messages_that_arrive_while_a_member_only_keeps_polling_are_read_later() -> None:
    fake = FakeConsumer()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 0})
    membership = consumer.membership()
    consumer.pause(consumer.positions)
    assert (fake.paused, consumer.assigned_partitions()) == ({(TOPIC, 0)}, [(TOPIC, 0)])
    fake.fetches = [[FakeMessage(0)], [FakeMessage(1)]]
    consumer.keep_polling(membership, 0.1)
    consumer.keep_polling(membership, 0.1)
    assert consumer.buffered == 2
    consumer.pause(())
    assert fake.paused == set()
    assert read(consumer) == [(0, 0), (0, 1)]
    fake.during_fetch = lambda: fake.on_revoke(fake, [])
    with pytest.raises(Rebalanced):
        consumer.keep_polling(membership, 0.1)


def test_an_offset_out_of_range_continues_at_the_start_of_the_log() -> None:
    fake = FakeConsumer(starts={(TOPIC, 0): 40})
    report = Report("sketcher", "s")
    consumer = assigned_consumer(fake, {(TOPIC, 0): 30, (TOPIC, 1): 7}, report)
    consumer.pause([(TOPIC, 1)])
    fake.fetches = [[failure(KafkaError._AUTO_OFFSET_RESET)]]
    [(error, partition)] = consumer.read(consumer.membership()).errors
    consumer.handle_error(error, partition)
    assert consumer.positions == fake.assignments[-1] == {(TOPIC, 0): 40, (TOPIC, 1): 7}
    assert (consumer.paused, fake.paused) == (set(), set()), "librdkafka keeps partitions paused over an assignment"
    assert report.values(metrics.OFFSETS_LOST) == {("predictions",): 10}
    with pytest.raises(Rebalanced):
        consumer.handle_error(error, (TOPIC, 5))


def test_errors_that_pass_are_counted_and_others_stop_the_processor() -> None:
    report = Report("sketcher", "s")
    fake = FakeConsumer(ends={0: 12})
    consumer = assigned_consumer(fake, {(TOPIC, 0): 0}, report)
    consumer.handle_error(KafkaError(KafkaError._TRANSPORT), (TOPIC, 0))
    consumer.handle_error(KafkaError(KafkaError._MAX_POLL_EXCEEDED), (TOPIC, 0))
    assert report.retries == 1
    with pytest.raises(ProcessorError, match="Run `barograph apply`"):
        consumer.handle_error(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), (TOPIC, 0))
    # A broker that does not answer has no end offset.
    assert consumer.end_offset((TOPIC, 0)) == 12
    fake.is_down = True
    assert consumer.end_offset((TOPIC, 0)) is None
    assert report.retries == 2


def test_a_commit_sends_the_offsets_of_all_partitions_also_of_idle_ones() -> None:
    fake, transactions = FakeConsumer(), Mock()
    consumer = assigned_consumer(fake, {(TOPIC, 0): 5, (TOPIC, 1): 7})
    assert not consumer.has_uncommitted
    membership = consumer.membership()
    fake.fetches = [[FakeMessage(5)]]
    consumer.read(membership)
    assert consumer.has_uncommitted
    transactions.commit.side_effect = [TransactionDropped("fenced"), None]
    with pytest.raises(Rebalanced):
        consumer.commit(transactions, [], membership)
    assert consumer.has_uncommitted
    consumer.commit(transactions, [("partials", {"value": b"p"})], membership)
    messages, offsets, metadata = transactions.commit.call_args.args
    assert (list(messages), metadata) == ([("partials", {"value": b"p"})], "metadata")
    assert {(tp.topic, tp.partition): tp.offset for tp in offsets} == {(TOPIC, 0): 6, (TOPIC, 1): 7}
    assert not consumer.has_uncommitted


SOUNDS_SECRET = re.compile(r"pass|secret|credential|token|key|pem|jaas|config$|cmd$")
"""Names that a person would check by hand."""
CHECKED = {
    "sasl.kerberos.keytab": "a path",
    "sasl.oauthbearer.assertion.private.key.file": "a path",
    "sasl.oauthbearer.client.credentials.client.id": "a name",
    "sasl.oauthbearer.token.endpoint.url": "an address",
    "ssl.ca.pem": "a certificate",
    "https.ca.pem": "a certificate",
    "ssl.certificate.pem": "a certificate",
    "ssl.key.location": "a path",
    "ssl.keystore.location": "a path",
}
"""The ones that a file may hold."""

MALFORMED = {
    "security.protocol": "sasl_plaintext",
    "sasl.mechanism": "OAUTHBEARER",
    "enable.sasl.oauthbearer.unsecure.jwt": "true",
    "sasl.oauthbearer.config": "principal=me password=xyzzy",
}
"""librdkafka quotes the last setting from the first word that it does not know."""


@pytest.fixture(scope="module")
def properties(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The name and the type of every property of the library that confluent-kafka loads."""
    (path,) = (Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs").glob("librdkafka*.so*")
    library, libc = ctypes.CDLL(str(path)), ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    table = tmp_path_factory.mktemp("librdkafka") / "properties.md"
    file = ctypes.c_void_p(libc.fopen(bytes(table), b"w"))
    library.rd_kafka_conf_properties_show(file)
    libc.fclose(file)
    rows = re.findall(r"^(\S+)\s*\|.*\*Type: (.*)\*\s*$", table.read_text(), re.MULTILINE)
    assert len(rows) > 100
    return dict(rows)


def test_a_file_may_hold_only_properties_that_were_checked(properties: Mapping[str, str]) -> None:
    texts = {name for name, kind in properties.items() if kind in ("string", "pattern list")}
    allowed = {name for name in properties if SOUNDS_SECRET.search(name) and not may_hold_secret(name)}
    assert allowed == CHECKED.keys() & properties.keys()
    assert {"sasl.password", "sasl.oauthbearer.config", "ssl.key.pem", "ssl.keystore.password"} <= texts
    page = (Path(__file__).resolve().parents[3] / "docs/security.md").read_text(encoding="utf-8")
    shown = re.findall(r"^((?:sasl|ssl)\.[a-z.]+) = ", page, re.MULTILINE)
    assert len(shown) > 4
    assert not [name for name in (*CHECKED, *shown) if may_hold_secret(name)]


def test_every_property_that_librdkafka_hides_in_its_log_is_a_secret(
    properties: Mapping[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    texts = [name for name, kind in properties.items() if kind == "string" and name.startswith(("sasl", "ssl", "http"))]
    hidden = set()
    for name in texts:
        caplog.clear()
        logger = logging.getLogger("librdkafka-conf")
        with caplog.at_level(logging.DEBUG, "librdkafka-conf"):
            try:
                producer = Producer({name: "xyzzy", "debug": "conf"}, logger=logger)
            except confluent_kafka.KafkaException:
                continue
            producer.poll(0)
        hidden |= {name for line in caplog.messages if re.search(rf"\b{re.escape(name)} = \[redacted\]", line)}
    assert {"sasl.password", "ssl.key.password"} <= hidden
    assert {name for name in hidden if not may_hold_secret(name)} <= CHECKED.keys() | {"sasl.username"}


SECRETS = (
    *("sasl.password", "SASL.Password", "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret"),
    *("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.assertion.private.key.passphrase"),
    *("sasl.oauthbearer.assertion.private.key.pem", "sasl.oauthbearer.token.that.a.later.version.adds"),
    *("sasl.jaas.config", "sasl.kerberos.kinit.cmd", "ssl.key.pem", "ssl.key.password", "ssl.keystore.password"),
    *("ssl.keystore.key", "proxy.credentials"),
)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_a_file_is_rejected_and_not_shown(tmp_path: Path, name: str) -> None:
    file = tmp_path / "barograph.toml"
    section, _, key = f"kafka.{name}".rpartition(".")
    variable = f"BAROGRAPH_KAFKA_{name.upper().replace('.', '_')}"
    for text in (f'[{section}]\n{key} = "xyzzy"\n', f'[kafka]\n"{name}" = "xyzzy"\n'):
        file.write_text(text)
        with pytest.raises(SettingsError) as error:
            load_settings(file, environ={}, needs=())
        assert f"may hold a secret and does not belong in a file; set {variable} in the environment" in str(error.value)
        assert "xyzzy" not in str(error.value)
    settings = load_settings(environ={variable: "xyzzy"}, needs=(), folder=tmp_path / "none", find=lambda: None)
    assert settings.kafka == {name.lower(): "xyzzy"}
    assert "xyzzy" not in repr(settings)


def test_a_token_endpoint_with_a_password_is_rejected(tmp_path: Path) -> None:
    file, name = tmp_path / "barograph.toml", "sasl.oauthbearer.token.endpoint.url"
    plain = "https://login.example.com/oauth2/token"
    file.write_text(f'[kafka]\n{name} = "{plain}"\n')
    assert load_settings(file, environ={}, needs=()).kafka[name] == plain
    secret = "https://user:xyzzy@login.example.com/token"
    for url in (secret, "https://login.example.com/token?key=xyzzy"):
        file.write_text(f'[kafka]\n{name} = "{url}"\n')
        with pytest.raises(SettingsError, match=r"may hold a secret") as error:
            load_settings(file, environ={}, needs=())
        assert "xyzzy" not in str(error.value)
    # librdkafka writes the address to its log when the endpoint does not answer.
    environ = {"BAROGRAPH_KAFKA_SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL": secret}
    with pytest.raises(SettingsError, match=r"TOKEN_ENDPOINT_URL holds a user name or a password") as error:
        load_settings(environ=environ, needs=(), folder=tmp_path / "none", find=lambda: None)
    assert "xyzzy" not in str(error.value)


def test_an_oauthbearer_config_that_librdkafka_rejects_is_not_shown() -> None:
    admin = Admin("127.0.0.1:9", MALFORMED)
    wait_for(lambda: admin.client.poll(0.1) or admin.explain(None, "answer").args[0].count("oauthbearer"), "the error")
    text = str(admin.explain(None, "answer"))
    assert "sasl.oauthbearer.config" in text
    assert "xyzzy" not in text
    # Nor does a publisher show it.
    outbox = Outbox({"bootstrap.servers": "127.0.0.1:9", "log_level": 0, **MALFORMED}, wait=True)
    try:
        with pytest.raises(PublishError, match=r"authentication .* sasl.oauthbearer.config\)") as error:
            outbox.fetch_partition_count("predictions", 2.0)
        assert "xyzzy" not in f"{error.value}{outbox.stats}"
    finally:
        outbox.close(0.0)
