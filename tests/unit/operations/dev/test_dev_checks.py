"""What `barograph dev` checks before it deletes data and starts servers."""

import socket
from pathlib import Path

import pytest
from barograph.contract import Contract
from barograph.contract.file import dump_contract

from barograph_server.local import stack
from tests.support.command_line import run


class NoStack:
    """A stack that must not be touched."""

    def __init__(self) -> None:
        raise AssertionError("the stack was touched before everything was checked")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stack, "LocalStack", NoStack)
    (tmp_path / "m.yaml").write_text(dump_contract(Contract(model="m")))
    return tmp_path


def dev_error(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run("dev", *words) == 1
    return capsys.readouterr().err


def test_a_typo_and_a_taken_port_are_reported_before_a_start(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        error = dev_error(capsys, "m.yaml", "--reset", "--page-port", str(port))
    assert f"Port {port} of the dashboards is taken" in error
    (folder / "m.yaml").write_text("model: m\nwindowz: 1d\n")
    assert "windowz" in dev_error(capsys, "m.yaml", "--reset")
    (folder / "barograph.toml").write_text("clok = 'replay'")
    assert "clok" in dev_error(capsys, "m.yaml", "--reset")
