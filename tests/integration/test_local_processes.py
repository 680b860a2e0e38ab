"""Children, owners and ports, with small programs in place of servers."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from barograph_server.local.child_process import ChildProcess, LocalStackError, OwnerLock, started_at, wait_until
from barograph_server.local.kafka_jars import Jar, kafka_jars

REPOSITORY = Path(__file__).parents[2]


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


def start_parent(folder: Path) -> tuple["subprocess.Popen[str]", int, int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(folder)], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    )
    assert parent.stdout is not None
    child_pid, guard_pid = map(int, parent.stdout.readline().split())
    return parent, child_pid, guard_pid


def kill_parent(parent: "subprocess.Popen[str]") -> None:
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
