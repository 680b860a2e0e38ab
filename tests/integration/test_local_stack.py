"""The local stack as commands see it, and its children, owners and ports."""

import hashlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from barograph_server.local.child_process import ChildProcess, LocalStackError, OwnerLock, started_at, wait_until
from barograph_server.local.clickhouse import create_passwords, read_passwords
from barograph_server.local.kafka_jars import Jar, kafka_jars
from barograph_server.local.stack import LocalStack, find_stack
from barograph_server.warehouse.client import connect

REPOSITORY = Path(__file__).parents[2]

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


@pytest.mark.long
def test_servers_that_outlived_their_owner_are_taken_over(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert owner.stdout is not None
    kafka_pid, clickhouse_pid, *guard_pids = map(int, owner.stdout.readline().split())
    before = find_stack(tmp_path)
    assert before
    for pid in guard_pids:
        os.kill(pid, signal.SIGKILL)
    owner.kill()
    owner.communicate()
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
    assert set(first) == {"default", "reader"}
    assert len(set(first.values())) == 2
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
    assert "sleeper ended with exit code 3" in str(raised.value)
    assert "no room on the disk" in str(raised.value)
    assert str(tmp_path / "logs" / "sleeper.log") in str(raised.value)
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


def start_parent(folder: Path) -> tuple[subprocess.Popen[str], int, int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(folder)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert parent.stdout is not None
    child_pid, guard_pid = map(int, parent.stdout.readline().split())
    return parent, child_pid, guard_pid


def kill_parent(parent: subprocess.Popen[str]) -> None:
    parent.kill()
    parent.communicate()


def test_a_child_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    parent, child_pid, guard_pid = start_parent(tmp_path)
    assert started_at(child_pid)
    kill_parent(parent)
    assert wait_until(lambda: started_at(child_pid) is None, 10)
    assert wait_until(lambda: started_at(guard_pid) is None, 10)
    assert not make_child(tmp_path).find()


def test_a_child_that_outlived_parent_and_guard_is_found(tmp_path: Path) -> None:
    parent, child_pid, guard_pid = start_parent(tmp_path)
    os.kill(guard_pid, signal.SIGKILL)
    kill_parent(parent)
    child = make_child(tmp_path)
    assert child.find()
    assert child.pid == child_pid
    assert child.exit_code is None
    assert child.terminate(timeout_s=10)
    assert started_at(child_pid) is None


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    first = OwnerLock(tmp_path / "owner.lock", "The stack")
    second = OwnerLock(tmp_path / "owner.lock", "The stack")
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
