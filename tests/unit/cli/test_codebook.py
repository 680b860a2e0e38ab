"""`barograph codebook` on files, with the real encoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from barograph.text.codebook import load_codebook
from barograph.text.embedding import ENDPOINT_TEXTS

from tests.support import command_line
from tests.support.questions import all_questions
from tests.support.scripted_http import Exchange, ScriptedServer


def run(*words: object) -> int:
    return command_line.run("codebook", *words)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"prompt": text}) for text in all_questions()[:120]]
    path.write_text("\n".join([*lines, lines[0].upper().replace("PROMPT", "prompt", 1), ""]), encoding="utf-8")
    return path


def test_train_show_and_name(tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, named = (tmp_path / f"{name}.codebook.npz" for name in ("a", "b", "c"))
    assert run("train", prompts, "--clusters", 4, "--out", first) == 0
    output = capsys.readouterr().out
    assert load_codebook(first).id in output
    assert "password" not in output, "texts are printed on request only"
    assert run("train", prompts, "--clusters", 4, "--out", second, "--show", 2) == 0
    assert first.read_bytes() == second.read_bytes()
    assert "password" in capsys.readouterr().out
    assert b"password" not in first.read_bytes()
    assert load_codebook(first).header.n_training == 96, "120 different texts, a fifth of them held out"
    names = tmp_path / "names.yaml"
    names.write_text("names: {t0: first topic}")
    assert run("name", first, names, "--out", named) == 0
    capsys.readouterr()
    assert run("show", named, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["names"] == ["first topic", "t1", "t2", "t3"]
    assert run("show", named, prompts, "--show", 1) == 0
    assert "first topic" in capsys.readouterr().out


def test_own_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors, out = tmp_path / "vectors.npy", tmp_path / "a.codebook.npz"
    np.save(vectors, np.random.default_rng(1).normal(size=(100, 6)))
    train = ("train", "--vectors", vectors, "--clusters", 3, "--out", out)
    for options, reason in (((), "--embedding"), (("--embedding", "mine@2", "--show", 2), "file of texts")):
        assert run(*train, *options) == 1
        assert reason in capsys.readouterr().err
        assert not out.exists(), "nothing is written before everything was checked"
    assert run(*train, "--embedding", "mine@2") == 0
    embedding = load_codebook(out).header.embedding
    assert (embedding.name, embedding.version, embedding.dimensions) == ("mine", "2", 6)
    assert run("show", out, "--vectors", vectors) == 1
    assert "file of texts" in capsys.readouterr().err


def embed(exchange: Exchange) -> None:
    request = json.loads(exchange.body)
    rows = [{"index": i, "embedding": [len(text), 1.0 + i % 5]} for i, text in enumerate(request["input"])]
    is_odd = request["model"] == "odd"
    body = json.dumps({"data": rows[:1] if is_odd else rows[::-1]}).encode()
    exchange.send(body, 503 if request["model"] == "away" else 200)


@pytest.fixture
def endpoint() -> Iterator[ScriptedServer]:
    with ScriptedServer(embed) as server:
        yield server


def test_an_endpoint_embeds(
    tmp_path: Path,
    prompts: Path,
    endpoint: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BAROGRAPH_EMBEDDINGS_KEY", "a key")
    out = tmp_path / "a.codebook.npz"
    options = ("--endpoint", f"{endpoint.url}/v1", "--clusters", 3, "--out", out)
    assert run("train", prompts, "--embedding", "small@1", *options) == 0
    assert load_codebook(out).header.embedding.name == "small"
    sizes = [len(request.json()["input"]) for request in endpoint.requests]
    assert sizes == [ENDPOINT_TEXTS, 120 - ENDPOINT_TEXTS]
    assert {request.headers["Authorization"] for request in endpoint.requests} == {"Bearer a key"}
    assert {request.path for request in endpoint.requests} == {"/v1/embeddings"}
    for model, reason in (("odd", "one embedding per text"), ("away", "status 503")):
        assert run("train", prompts, "--embedding", model, *options) == 1
        assert reason in capsys.readouterr().err


def test_bad_input(tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken, names, out, good = (tmp_path / name for name in ("broken", "names.yaml", "a.npz", "good.npz"))
    broken.write_text("x")
    names.write_text("names:\n  t0: billing\n  t0: refunds\n")
    assert run("train", prompts, "--clusters", 4, "--out", good) == 0
    for arguments, reason in (
        (("train", "--out", out), "Name a file of texts"),
        (("train", "--vectors", broken, "--embedding", "m", "--out", out), "not a npy file"),
        (("train", prompts, "--endpoint", "http://127.0.0.1:1", "--embedding", "m", "--out", out), "does not answer"),
        (("show", broken), "is not a codebook"),
        (("name", good, names, "--out", out), f"{names}:3"),
    ):
        assert run(*arguments) == 1
        assert reason in capsys.readouterr().err
    for content, reason in (
        ("{", "line 1 is not JSON"),
        ('"a"\n{"other": 1}', "line 2 has no text"),
        ('"a"', "too few"),
    ):
        broken.write_text(content)
        assert run("train", broken, "--out", out) == 1
        assert reason in capsys.readouterr().err
