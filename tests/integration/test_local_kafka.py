"""Kafka and ClickHouse on one machine: transactions, crashes, and processes that own or join the stack."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from barograph_server.local.child_process import ChildProcess, LocalStackError, OwnerLock, started_at, wait_until
from barograph_server.local.clickhouse import create_passwords, read_passwords
from barograph_server.local.kafka import LocalKafka, broker_answers
from barograph_server.local.kafka_jars import Jar, kafka_jars
from barograph_server.local.stack import LocalStack, find_stack
from barograph_server.warehouse.client import connect

# Enough for a group to settle on a machine with other work.
PATIENCE_S = 30


def make_topics(servers: str, *topics: str, partitions: int = 3) -> None:
    admin = AdminClient({"bootstrap.servers": servers})
    for future in admin.create_topics([NewTopic(topic, partitions) for topic in topics]).values():
        future.result()


def produce(servers: str, topic: str, values: range) -> None:
    producer = Producer({"bootstrap.servers": servers})
    for value in values:
        producer.produce(topic, str(value))
    assert producer.flush(PATIENCE_S) == 0


def make_consumer(servers: str, group: str, topic: str) -> Consumer:
    reads = {"auto.offset.reset": "earliest", "enable.auto.commit": False, "isolation.level": "read_committed"}
    # The eager protocol, and a dead member noticed within a second.
    joins = {"partition.assignment.strategy": "roundrobin", "session.timeout.ms": 1000, "heartbeat.interval.ms": 300}
    consumer = Consumer({"bootstrap.servers": servers, "group.id": group, **reads, **joins})
    consumer.subscribe([topic])
    return consumer


def read(consumer: Consumer, count: int) -> list[Any]:
    messages: list[Any] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(messages) < count and time.monotonic() < deadline:
        messages += [m for m in consumer.consume(count - len(messages), 0.2) if m.error() is None]
    return messages


def read_all(servers: str, group: str, topic: str, count: int) -> list[int]:
    """All committed values of a topic; one more than `count` is waited for only as long as a poll takes."""
    with closing(make_consumer(servers, group, topic)) as consumer:
        return sorted(int(message.value() or b"") for message in read(consumer, count) + consumer.consume(10, 1.0))


def copy_in_transactions(
    servers: str, prefix: str, count: int, *, fail_after: int | None = None, batch: int = 100
) -> None:
    """Copy `in` to `out`, offsets in the transactions, until `count` are done or one is aborted."""
    producer = Producer({"bootstrap.servers": servers, "transactional.id": f"{prefix}copier"})
    producer.init_transactions(PATIENCE_S)
    consumer = make_consumer(servers, f"{prefix}copiers", f"{prefix}in")
    done = 0
    while done < count:
        messages = read(consumer, min(batch, count - done))
        assert messages
        producer.begin_transaction()
        for message in messages:
            producer.produce(f"{prefix}out", message.value())
        offsets = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), PATIENCE_S)
        if fail_after is not None and done >= fail_after:
            producer.abort_transaction(PATIENCE_S)
            break
        producer.commit_transaction(PATIENCE_S)
        done += len(messages)
    consumer.close()


@pytest.mark.long
def test_transactions_carry_offsets_exactly_once(broker: LocalKafka, topic_prefix: str) -> None:
    servers = broker.bootstrap_servers
    make_topics(servers, f"{topic_prefix}in", f"{topic_prefix}out")
    produce(servers, f"{topic_prefix}in", range(1000))
    copy_in_transactions(servers, topic_prefix, 1000, fail_after=300)
    copy_in_transactions(servers, topic_prefix, 700)
    assert read_all(servers, f"{topic_prefix}check", f"{topic_prefix}out", 1000) == list(range(1000))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalKafka]:
    """A broker that the test may hurt, in a folder whose name the locale cannot write."""
    monkeypatch.setenv("LC_ALL", "C")
    kafka = LocalKafka(tmp_path / "größe 模型", port=0, log_dir=tmp_path / "logs")
    yield kafka
    kafka.kill()


@pytest.mark.long
@pytest.mark.broker
def test_data_outlive_a_stop_and_a_kill(own: LocalKafka) -> None:
    own.start()
    first_pid = own.pid
    make_topics(own.bootstrap_servers, "in", "out")
    produce(own.bootstrap_servers, "in", range(200))
    copy_in_transactions(own.bootstrap_servers, "", 100)
    own.stop()
    assert first_pid is not None
    assert started_at(first_pid) is None
    own.start()
    assert own.pid != first_pid
    assert broker_answers(own.bootstrap_servers)
    copy_in_transactions(own.bootstrap_servers, "", 50)
    own.kill()
    assert not own.is_running
    assert not broker_answers(own.bootstrap_servers)
    own.start()
    copy_in_transactions(own.bootstrap_servers, "", 50)
    assert read_all(own.bootstrap_servers, "check", "out", 200) == list(range(200))


@pytest.mark.long
@pytest.mark.broker
def test_a_transaction_committed_at_the_moment_of_a_crash_completes(own: LocalKafka) -> None:
    own.start()
    make_topics(own.bootstrap_servers, "in")
    # The markers of so many partitions are still being written when the commit has returned.
    make_topics(own.bootstrap_servers, "out", partitions=200)
    produce(own.bootstrap_servers, "in", range(50))
    producer = Producer({"bootstrap.servers": own.bootstrap_servers, "transactional.id": "crash"})
    producer.init_transactions(PATIENCE_S)
    consumer = make_consumer(own.bootstrap_servers, "copiers", "in")
    assert len(read(consumer, 50)) == 50
    offsets = consumer.position(consumer.assignment())
    producer.begin_transaction()
    for partition in range(200):
        producer.produce("out", str(partition), partition=partition)
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), PATIENCE_S)
    producer.commit_transaction(PATIENCE_S)
    own.kill()
    consumer.close()
    own.start()
    assert read_all(own.bootstrap_servers, "check", "out", 200) == list(range(200))
    consumer = make_consumer(own.bootstrap_servers, "copiers", "in")
    # A consumer fetches its group's offsets before it fetches: they must not hang, and must be the new ones.
    assert wait_until(lambda: consumer.poll(0.1) is None and len(consumer.assignment()) == 3, PATIENCE_S)
    produce(own.bootstrap_servers, "in", range(50, 60))
    assert sorted(int(message.value() or b"") for message in read(consumer, 10)) == list(range(50, 60))
    consumer.close()


@pytest.mark.broker
def test_a_setting_that_the_broker_rejects_is_reported(tmp_path: Path) -> None:
    kafka = LocalKafka(tmp_path, port=0, properties={"num.network.threads": "many"})
    with pytest.raises(LocalStackError, match=r"could not be formatted:\n(.*\n)*.*num\.network\.threads"):
        kafka.start()
    assert not kafka.is_running
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": "127.0.0.1:9", "log_level": 0}).list_topics(timeout=0.1)


_OWNER = """
import sys, time
from pathlib import Path
from barograph_server.local.stack import LocalStack
stack = LocalStack(Path(sys.argv[1]), kafka_port=0, clickhouse_port=0)
stack.start()
servers = (stack.kafka, stack.clickhouse)
print(*(server.pid for server in servers), *(server._child._guard.pid for server in servers), flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A running stack. What an earlier version left is readable by others, and so is all that the umask allows."""
    root = tmp_path_factory.mktemp("stack") / "stack"
    assert find_stack(root) is None
    (root / "clickhouse" / "engine" / "store").mkdir(0o755, parents=True)
    (root / "clickhouse" / "old").write_text("rows")
    (root / "logs").mkdir(0o755)
    (root / "logs" / "kafka.log.1").write_text("lines")
    for path in (root, *root.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    previous = os.umask(0o000)
    try:
        with LocalStack(root, kafka_port=0, clickhouse_port=0) as stack:
            yield stack
    finally:
        os.umask(previous)


def test_other_users_cannot_read_anything_of_the_stack(stack: LocalStack) -> None:
    root = stack.root
    with connect(stack.clickhouse.address("kept"), create=True) as client:
        client.command("CREATE TABLE t (a Int64) ENGINE = MergeTree ORDER BY a")
        client.command("INSERT INTO t VALUES (1)")
    paths = [root, *root.rglob("*")]
    names = {path.name for path in paths}
    assert {"stack.json", "kafka.log", "default.netrc", "reader.netrc", "kafka.json", "old", "kafka.log.1"} <= names
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in paths if path.exists() and not path.is_symlink()}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert not [str(path) for path, mode in modes.items() if mode & 0o077]
    assert modes[root / "clickhouse" / "default.netrc"] == 0o600


def test_a_stack_is_found_and_wiped(stack: LocalStack) -> None:
    root = stack.root
    assert find_stack(root) == stack.addresses
    with pytest.raises(LocalStackError, match="stop it before its data is deleted"):
        stack.reset()
    for act in (LocalStack(root).reset, LocalStack(root).start):
        with pytest.raises(LocalStackError, match=r"The local stack in .* is run by another process"):
            act()
    assert find_stack(root) == stack.addresses, "a refused start must not touch the running stack"
    assert {path.name for path in stack.log_dir.iterdir()} == {"kafka.log", "kafka.log.1", "clickhouse.log"}
    stack.kafka.kill()
    assert find_stack(root) is None
    stack.stop()
    assert not (root / "stack.json").exists()
    LocalStack(root).reset()
    assert not (root / "kafka").exists()
    assert not (root / "clickhouse").exists()


def start(script: str, folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a script of Python, and return it with the process ids that it prints."""
    command = [sys.executable, "-c", script, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert process.stdout is not None
    return process, [int(pid) for pid in process.stdout.readline().split()]


def kill(process: subprocess.Popen[str], *before: int) -> None:
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    process.kill()
    process.communicate()


@pytest.mark.long
def test_servers_that_outlived_their_owner_are_taken_over(tmp_path: Path) -> None:
    owner, (kafka_pid, clickhouse_pid, *guard_pids) = start(_OWNER, tmp_path)
    before = find_stack(tmp_path)
    assert before
    kill(owner, *guard_pids)
    assert find_stack(tmp_path) == before
    with LocalStack(tmp_path) as stack:
        assert (stack.kafka.pid, stack.clickhouse.pid) == (kafka_pid, clickhouse_pid)
        assert stack.addresses == before
    assert wait_until(lambda: started_at(kafka_pid) is None and started_at(clickhouse_pid) is None, 10)


def test_when_one_server_cannot_start_neither_runs(tmp_path: Path) -> None:
    (tmp_path / "clickhouse").mkdir()
    (tmp_path / "clickhouse" / "engine").write_text("not a folder")
    stack = LocalStack(tmp_path, kafka_port=0, clickhouse_port=0)
    with pytest.raises(LocalStackError, match="the engine cannot open"):
        stack.start()
    assert not stack.kafka.is_running
    assert not stack.clickhouse.is_running
    assert find_stack(tmp_path) is None


def test_passwords_persist_and_damaged_ones_are_reported(tmp_path: Path) -> None:
    create_passwords(tmp_path)
    first = read_passwords(tmp_path)
    create_passwords(tmp_path)
    assert read_passwords(tmp_path) == first
    assert (set(first), len(set(first.values()))) == ({"default", "reader"}, 2)
    assert all(len(password) >= 40 for password in first.values())
    (tmp_path / "reader.netrc").write_text("machine 127.0.0.1 login reader pass\n")
    with pytest.raises(LocalStackError, match=r"reader\.netrc is damaged: delete it and start the local stack again"):
        read_passwords(tmp_path)
    (tmp_path / "reader.netrc").unlink()
    with pytest.raises(LocalStackError, match=r"reader\.netrc cannot be read: No such file"):
        read_passwords(tmp_path)


def make_child(folder: Path) -> ChildProcess:
    return ChildProcess("sleeper", run_dir=folder / "run", log_path=folder / "logs" / "sleeper.log")


def test_a_child_runs_once_in_its_own_process_session_and_stops_on_request(tmp_path: Path) -> None:
    child = make_child(tmp_path)
    child.spawn(["/bin/sleep", "60"])
    assert child.pid is not None
    assert os.getsid(child.pid) == child.pid
    with pytest.raises(LocalStackError, match="runs already"):
        child.spawn(["/bin/sleep", "60"])
    with pytest.raises(LocalStackError, match="sleeper does not answer after"):
        child.wait_ready(lambda: False, 0.1)
    assert child.is_running
    assert child.terminate(timeout_s=10)
    assert not child.is_running
    assert child.pid is None
    assert child.exit_code == -signal.SIGTERM
    assert not list((tmp_path / "run").iterdir())


def test_a_child_that_does_not_stop_is_killed_with_its_children(tmp_path: Path) -> None:
    child = make_child(tmp_path)
    child.spawn(["/bin/sh", "-c", "trap '' TERM; sleep 60 & echo $!; wait; wait"])
    child.wait_ready(lambda: child.last_lines().strip().isdigit(), 10)
    grandchild = int(child.last_lines())
    assert not child.terminate(timeout_s=0.2)
    assert child.exit_code == -signal.SIGKILL
    assert wait_until(lambda: started_at(grandchild) is None, 10)


def test_a_child_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    child = make_child(tmp_path)
    child.spawn(["/bin/sh", "-c", "echo no room on the disk; exit 3"])
    with pytest.raises(LocalStackError) as raised:
        child.wait_ready(lambda: False, 10)
    for text in ("sleeper ended with exit code 3", "no room on the disk", str(tmp_path / "logs" / "sleeper.log")):
        assert text in str(raised.value)
    child.kill()


def test_a_reused_pid_and_a_damaged_pid_file_are_no_child(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for text in (f"{os.getpid()} 12345\n", "", "x y", "12", "1 2 3"):
        (tmp_path / "run" / "sleeper.pid").write_text(text)
        child = make_child(tmp_path)
        assert not child.find(), text
        assert not child.is_running


_PARENT = """
import sys, time
from pathlib import Path
from barograph_server.local.child_process import ChildProcess
folder = Path(sys.argv[1])
child = ChildProcess("sleeper", run_dir=folder / "run", log_path=folder / "logs" / "sleeper.log")
child.spawn(["/bin/sleep", "60"])
print(child.pid, child._guard.pid, flush=True)
time.sleep(60)
"""


def test_a_child_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent, (child_pid, guard_pid) = start(_PARENT, tmp_path)
    assert started_at(child_pid)
    kill(parent)
    assert wait_until(lambda: started_at(child_pid) is None, 10)
    assert wait_until(lambda: started_at(guard_pid) is None, 10)
    assert not make_child(tmp_path).find()


def test_a_child_that_outlived_parent_and_guard_is_found(tmp_path: Path) -> None:
    parent, (child_pid, guard_pid) = start(_PARENT, tmp_path)
    kill(parent, guard_pid)
    child = make_child(tmp_path)
    assert child.find()
    assert (child.pid, child.exit_code) == (child_pid, None)
    assert child.terminate(timeout_s=10)
    assert started_at(child_pid) is None


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    first, second = (OwnerLock(tmp_path / "owner.lock", "The stack") for _ in range(2))
    first.acquire()
    first.acquire()
    with pytest.raises(LocalStackError, match=rf"The stack in .* is run by another process \(pid {os.getpid()}\)"):
        second.acquire()
    assert not second.is_held
    first.release()
    second.acquire()
    assert second.is_held
    second.release()


def test_a_jar_that_differs_from_the_list_is_rejected(tmp_path: Path) -> None:
    right = Jar("g", "right", "1.0", hashlib.sha256(b"right").hexdigest())
    wrong = Jar("g", "wrong", "1.0", hashlib.sha256(b"expected").hexdigest())
    (tmp_path / right.filename).write_bytes(b"right")
    (tmp_path / wrong.filename).write_bytes(b"something else")
    assert kafka_jars(tmp_path, [right]) == [tmp_path / right.filename]
    with pytest.raises(LocalStackError, match=r"is not the g:wrong:1\.0 that kafka-jars\.txt names.*not started"):
        kafka_jars(tmp_path, [right, wrong])
