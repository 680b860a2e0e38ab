"""How a publisher finds Kafka if its caller names none."""

import json
from pathlib import Path

import pytest
from barograph.publisher.servers import find_bootstrap_servers


def run_stack(folder: Path, servers: str) -> None:
    folder.mkdir(parents=True)
    (folder / "stack.json").write_text(json.dumps({"bootstrap_servers": servers, "clickhouse_port": 1}))


def test_two_clones_find_their_own_stack_and_the_environment_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    clones = {first: "127.0.0.1:29092", second: "127.0.0.1:40001"}
    for folder, servers in clones.items():
        run_stack(folder / ".barograph", servers)
    for folder, servers in clones.items():
        monkeypatch.chdir(folder)
        assert find_bootstrap_servers({}) == servers
    assert find_bootstrap_servers({"BAROGRAPH_HOME": str(first / ".barograph")}) == "127.0.0.1:29092"
    environ = {"BAROGRAPH_HOME": str(first / ".barograph"), "BAROGRAPH_BOOTSTRAP_SERVERS": "kafka:9092"}
    assert find_bootstrap_servers(environ) == "kafka:9092"


def test_without_a_stack_the_error_says_what_to_do(tmp_path: Path) -> None:
    missing = r"no Kafka is named: pass bootstrap_servers, .*`barograph dev` \(none runs in"
    for record in (None, "[]", "{", '{"bootstrap_servers": 1}'):
        if record is not None:
            (tmp_path / "stack.json").write_text(record)
        with pytest.raises(ValueError, match=missing):
            find_bootstrap_servers({"BAROGRAPH_HOME": str(tmp_path)})
