"""The support bot's suite: real inspect-ai, a real language model, two prompts, and the gate."""

import json
from pathlib import Path
from typing import Any

import pytest
from barograph.prompts.content import content_hash
from barograph.prompts.file import load_content
from barograph.prompts.records import PromptVersion

from barograph_server.local.language_model import MODEL, LocalLanguageModel
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.prompts import store_missing
from tests.support.command_line import OutputOf

pytestmark = pytest.mark.llm
BOT = Path(__file__).parents[2] / "examples" / "support_bot"
SUITE, POLICY = BOT / "evals" / "answers.yaml", BOT / "evals" / "policy.yaml"
ITEMS = 62
PROMPTS = {1: "answer_verbose.yaml", 2: "answer.yaml"}
"""Version 2 costs a third of version 1: its answers have at most 8 tokens. Most end before the fact."""


def test_the_gate_holds_the_worse_prompt_back(
    client: Client,
    config: str,
    language_model: LocalLanguageModel,
    tmp_path: Path,
    output_of: OutputOf,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*words: str | Path, code: int = 0) -> str:
        return output_of(code, "eval", *words, "--config", config)

    for version, name in PROMPTS.items():
        content = load_content(BOT / "prompts" / name)
        record = PromptVersion(
            version=version, content=content, content_hash=content_hash(content), registered_at_ms=version * 1000
        )
        store_missing(client, [record])
    options = ("--model", "support-bot", "--endpoint", language_model.url, "--log-dir", tmp_path)
    for version in PROMPTS:
        out = run("run", SUITE, "--prompt", f"answer@{version}", *options)
        assert f"of {ITEMS} answers to {ITEMS} items; run" in out
    shown: list[dict[str, Any]] = json.loads(run("show", "--model", "support-bot", "--format", "json"))
    assert [(each["prompt"], each["items"], each["version"]) for each in shown] == [
        ("answer@1", ITEMS, MODEL),
        ("answer@2", ITEMS, MODEL),
    ]
    gate = ("gate", "--model", "support-bot", "--policy", POLICY)
    run(*gate, "--candidate", "answer@1", "--accept")
    table = run(*gate, "--candidate", "answer@2", code=1)
    with capsys.disabled():
        # The figures of docs/suites.md.
        print(f"\n{run('show', '--model', 'support-bot')}\n{table}")
    decision = json.loads(run(*gate, "--candidate", "answer@2", "--format", "json", code=1))
    (suite,) = decision["suites"]
    assert (decision["outcome"], suite["difference"]["items"]) == ("hold", ITEMS)
    assert suite["accepted"]["mean"] > 0.3
    assert suite["candidate"]["mean"] < 0.2
    assert suite["difference"]["high"] < -0.1
    # The same log again is no second run.
    (first, *_) = sorted(tmp_path.glob("*/*.eval"))
    assert "is stored already" in run("import", first)
    assert "The prompt answer@9 is not registered" in run("run", SUITE, "--prompt", "answer@9", *options, code=3)
