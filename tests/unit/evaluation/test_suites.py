import json
import shutil
import socket
import stat
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from barograph.contract.problems import ContractError

from barograph_server.errors import CommandError
from barograph_server.evaluation.suites.gate import SuiteRules, load_gate_policy
from barograph_server.evaluation.suites.inspect_program import require_endpoint, run_inspect, run_program, uv_program
from barograph_server.evaluation.suites.logs import zip_members
from barograph_server.evaluation.suites.logs.json_values import EvalLogError
from barograph_server.evaluation.suites.logs.read import read_logs
from barograph_server.evaluation.suites.logs.zip_members import ZipMembers
from barograph_server.evaluation.suites.suite import EvalSuite, read_suite_file
from barograph_server.warehouse.evaluation.eval_runs import EvalRun
from tests.support.pipeline import ROOT

LOGS = Path(__file__).parents[2] / "golden" / "eval_logs"
INSPECT = LOGS / "inspect.json"
EVAL = LOGS / "inspect.eval"
PROMPTFOO = LOGS / "promptfoo.json"
LM_EVAL = next((LOGS / "lm_eval").glob("results_*.json"))
Change = Callable[[dict[str, Any]], object]


def read(path: Path, scorer: str | None = None) -> EvalRun:
    (run,) = read_logs([path], model="support-bot", scorer=scorer)
    return run


def changed(path: Path, folder: Path, change: Change) -> Path:
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    copy = folder / path.name
    copy.write_text(json.dumps(value), encoding="utf-8")
    return copy


def message(path: Path, scorer: str | None = None) -> str:
    with pytest.raises(EvalLogError) as caught:
        read(path, scorer)
    assert str(caught.value).startswith(str(path.parent))
    return str(caught.value)


@pytest.mark.parametrize("path", [INSPECT, EVAL], ids=["json", "eval"])
def test_logs_of_inspect(path: Path) -> None:
    (run,) = read_logs([path])
    assert (run.model, run.suite, run.suite_version, run.prompt) == ("support-bot", "answers", "1", "answer@2")
    assert (run.version, run.format, run.scorer, run.unscored) == ("smollm2-135m", "inspect-ai", "contains_fact", 0)
    assert run.mean == 0.375
    items = ("business-customers-1", "business-customers-2", "damaged-parcels-1", "damaged-parcels-2")
    assert {(answer.item, answer.epoch) for answer in run.answers} == {*product(items, (1, 2))}
    assert sum(answer.is_pass for answer in run.answers) == 3
    assert run.answers[0].metadata == {"document": "business-customers"}


def test_a_log_of_lm_eval() -> None:
    run = read(LM_EVAL)
    assert (run.suite, run.suite_version) == ("support_bot_answers", "1")
    assert (run.scorer, run.version) == ("acc,none", "smollm2-135m")
    assert (len(run.answers), run.mean) == (8, 0.5)
    assert run.answers[4].item == "delivery-costs-1"
    assert run.run_id == read(LM_EVAL).run_id


def test_a_log_of_promptfoo() -> None:
    run = read(PROMPTFOO)
    assert (run.suite, run.prompt, run.version) == ("support-bot-answers", "answer@2", "openai:chat:smollm2-135m")
    passed = [(answer.item, answer.epoch) for answer in run.answers if answer.is_pass]
    assert passed == [(f"delivery-costs-{item}", epoch) for item in (1, 2) for epoch in (1, 2)]
    assert run.mean == pytest.approx(4 / 12, abs=1e-12)
    assert run.answers[0].metadata == {"document": "business-customers"}


def test_a_log_that_names_no_application_needs_the_option() -> None:
    with pytest.raises(EvalLogError, match="import it with --model"):
        read_logs([PROMPTFOO])
    (run,) = read_logs([PROMPTFOO], model="m", prompt="answer@9")
    assert (run.model, run.prompt) == ("m", "answer@9")
    assert read(PROMPTFOO, "score") == read(PROMPTFOO)
    assert "have one score, score, not accuracy: omit --scorer" in message(PROMPTFOO, "accuracy")


def test_one_prompt_or_application_is_not_given_to_runs_of_several(tmp_path: Path) -> None:
    other = changed(INSPECT, tmp_path, set_in("metadata", value={"application": "shop", "prompt": "answer@3"}))
    with pytest.raises(EvalLogError, match=r"the runs are of answer@2, answer@3, so that --prompt answer@8 would"):
        read_logs([INSPECT, other], model=None, prompt="answer@8")
    with pytest.raises(EvalLogError, match=r"the runs are of shop, support-bot, so that --model m would make them one"):
        read_logs([INSPECT, other], model="m")
    assert [run.prompt for run in read_logs([INSPECT, other])] == ["answer@2", "answer@3"]
    assert [run.prompt for run in read_logs([other], prompt="answer@8")] == ["answer@8"]
    own_member = changed(INSPECT, tmp_path, set_in("metadata", value={"prompt": "answer", "prompt_version": 8}))
    assert read(own_member).prompt == "answer@8"


def set_in(*steps: Any, value: Any) -> Change:
    def change(log: dict[str, Any]) -> None:
        target: Any = log
        for step in steps[:-1]:
            target = target[step]
        target[steps[-1]] = value

    return change


SCORE = ("samples", 0, "scores", "contains_fact", "value")
TOTAL = ("results", "scores", 0, "metrics", "accuracy", "value")


def test_damaged_logs_of_inspect(tmp_path: Path) -> None:
    for change, text in (
        (set_in(*TOTAL, value=0.5), "the mean of the 8 scores is 0.375, but the log states 0.5"),
        (lambda log: log["samples"].pop(), "has 7 answers, but the log states 8"),
        (lambda log: log["samples"].__setitem__(1, log["samples"][0]), "epoch 1, is there twice"),
        (lambda log: [each.update(scores=None) for each in log["samples"]], "none of its 8 answers has a score of"),
        (set_in("results", "scores", 0, "scored_samples", value=5), "has 4 items with a score, but the log states 5"),
        (set_in("version", value=3), "is a log of version 3, not 2"),
        (set_in("status", value="cancelled"), "ended with the status cancelled; repeat it with `inspect eval-retry`"),
        (set_in("results", "scores", 0, "metrics", value={"f1": {}}), "neither the metric accuracy nor mean"),
        (set_in("samples", 3, "output", "model", value="other"), "are of several models, other, smollm2-135m"),
        (set_in(*SCORE, value="perhaps"), "sample 1: the score 'perhaps' is neither a number nor"),
        (set_in(*SCORE, value=7), "sample 1: the score is 7.0; only scores from 0 to 1"),
        (set_in("samples", 0, value=5), "sample 1: is not an object"),
        (set_in("samples", 0, "epoch", value=2**31 + 1), "sample 1: the epoch is 2147483649; epochs from 0"),
        (set_in("metadata", value="support-bot"), "`metadata` is str"),
    ):
        assert text in message(changed(INSPECT, tmp_path, change))


def test_items_count_alike_if_answers_failed(tmp_path: Path) -> None:
    def fails(log: dict[str, Any]) -> None:
        log["eval"]["config"]["fail_on_error"] = False
        log["samples"][0] |= {"scores": None, "error": {"message": "Connection reset"}}
        log["results"]["completed_samples"] = 7

    run = read(changed(INSPECT, tmp_path, fails))
    assert (len(run.answers), run.unscored) == (7, 1)
    # Means of the items: 0 of 1, 0 of 2, 1 of 2 and 2 of 2 answers.
    assert (run.mean_of_items, run.mean) == (0.375, 3 / 7)

    def an_item_fails(log: dict[str, Any]) -> None:
        for sample in log["samples"]:
            if sample["id"] == "damaged-parcels-2":
                sample["scores"] = {}
        score = log["results"]["scores"][0]
        score["scored_samples"], score["metrics"]["accuracy"]["value"] = 3, 1 / 6

    run = read(changed(INSPECT, tmp_path, an_item_fails))
    assert (len(run.answers), run.unscored) == (6, 2)


@pytest.mark.parametrize("value", [float("nan"), "nan"], ids=["bare", "text"])
def test_a_score_that_is_not_a_number_counts_as_none(value: object, tmp_path: Path) -> None:
    path = changed(INSPECT, tmp_path, set_in(*SCORE, value=value))
    assert (": NaN" in path.read_text(encoding="utf-8")) is isinstance(value, float)
    run = read(path)
    assert (len(run.answers), run.unscored, run.mean_of_items) == (7, 1, 0.375)


def test_values_of_scores_count_as_in_inspect(tmp_path: Path) -> None:
    def partly(log: dict[str, Any]) -> None:
        values = ["P", True, "yes", "0.25", 0, "N", "no", 1]
        for sample, value in zip(log["samples"], values, strict=True):
            sample["scores"]["contains_fact"]["value"] = value
        log["results"]["scores"][0]["metrics"]["accuracy"]["value"] = 3.75 / 8

    run = read(changed(INSPECT, tmp_path, partly))
    assert [answer.score for answer in run.answers] == [0.5, 1.0, 1.0, 0.25, 0.0, 0.0, 0.0, 1.0]
    assert run.answers[0].is_pass


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_logs_that_are_cut_off(share: float, tmp_path: Path) -> None:
    for path in (INSPECT, EVAL, PROMPTFOO):
        data = path.read_bytes()
        copy = tmp_path / path.name
        copy.write_bytes(data[: int(len(data) * share)])
        assert "is not JSON" in message(copy) or "is not a complete zip file" in message(copy)


def test_a_zip_file_that_unpacks_to_more_than_the_limit_is_rejected_before_it_is_unpacked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zip_members, "MAX_LOG_BYTES", 100_000)
    assert "contains 114,507 bytes; logs of up to 100,000 can be imported" in message(EVAL)


def written_zip(path: Path, content: bytes, method: int) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("header.json", content)
    return path


def restated(path: Path, size: int, stated: int) -> bytes:
    """A zip file that states another uncompressed size of header.json, at byte 24 of its entry in the list."""
    data = bytearray(path.read_bytes())
    at = data.rindex(b"header.json") - 46 + 24
    assert data[at : at + 4] == size.to_bytes(4, "little")
    data[at : at + 4] = stated.to_bytes(4, "little")
    return bytes(data)


def test_a_member_is_unpacked_up_to_its_stated_size(tmp_path: Path) -> None:
    stated, content = 1000, b" " * (64 << 20)
    path = written_zip(tmp_path / "log.eval", content, zipfile.ZIP_DEFLATED)
    path.write_bytes(restated(path, len(content), stated))
    with ZipMembers(path) as members:
        tracemalloc.start()
        with pytest.raises(EvalLogError, match=r"the member header\.json"):
            members.read("header.json")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 4 << 20


def test_members_of_zstd_and_of_other_methods(tmp_path: Path) -> None:
    with zipfile.ZipFile(EVAL) as archive:
        info = archive.getinfo("header.json")
        assert info.compress_type == zip_members.ZSTD
    copy = tmp_path / "forged.eval"
    copy.write_bytes(restated(EVAL, info.file_size, 10))
    assert "the member header.json" in message(copy), "unpacked up to its stated size"
    path = written_zip(tmp_path / "log.eval", b"{}", zipfile.ZIP_BZIP2)
    assert "the member header.json is compressed by method 12; stored members, deflate and zstd" in message(path)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with ZipMembers(written_zip(path, b"{}" * 50_000, method)) as members:
            assert members.read("header.json") == b"{}" * 50_000
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("_journal/start.json", "{}")
    assert "has no member header.json. Did the run end?" in message(path)


def test_damaged_logs_of_lm_eval(tmp_path: Path) -> None:
    shutil.copytree(LM_EVAL.parent, tmp_path, dirs_exist_ok=True)
    results, samples = tmp_path / LM_EVAL.name, next(tmp_path.glob("samples_*"))
    lines = samples.read_text(encoding="utf-8").splitlines()
    samples.write_text("\n".join(lines[:-1]), encoding="utf-8")
    assert "has 7 answers, but the log states 8" in message(results)
    samples.write_text("\n".join([*lines[:-1], lines[0]]), encoding="utf-8")
    assert "item business-customers-1, epoch 1, is there twice" in message(results)
    flipped = lines[0].replace('"acc": 0.0', '"acc": 1.0')
    samples.write_text("\n".join([flipped, *lines[1:]]), encoding="utf-8")
    assert "the mean of the 8 scores is 0.625, but the log states 0.5" in message(results)
    samples.write_text("\n".join([*lines[:-1], lines[-1][:50]]), encoding="utf-8")
    assert "line 8: is not JSON" in message(results)
    assert "has no metric f1,none; its metrics: acc,none" in message(results, "f1,none")
    samples.unlink()
    assert "Run lm-eval with --log_samples" in message(results)


def test_damaged_logs_of_promptfoo(tmp_path: Path) -> None:
    for change, text in (
        (lambda log: log["results"]["results"].pop(), "has 11 scores, but the log states 12"),
        (set_in("results", "results", 0, "score", value=1), "the mean of the 12 scores is 0.416666667, but the log"),
        (set_in("config", "description", value=""), "names no suite: add `description`"),
        (set_in("results", "results", 0, "failureReason", value=2), "has 1 failed calls, but the log states 0"),
    ):
        assert text in message(changed(PROMPTFOO, tmp_path, change))


def test_other_files(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"a": 1}', encoding="utf-8")
    assert "is not a log of a known format: inspect-ai" in message(other)
    other.write_text("[]", encoding="utf-8")
    assert "is not a JSON object" in message(other)
    assert "cannot be read: no such file" in message(tmp_path / "absent.json")


PROMPT = {"name": "answer", "version": 8, "template": [], "config": {}}


def fake_program(folder: Path, body: str) -> Path:
    path = folder / "inspect"
    path.write_text(f"#!{sys.executable}\nimport os, sys, pathlib\n{body}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def suite_of(folder: Path) -> EvalSuite:
    task = folder / "answers.py"
    task.write_text("", encoding="utf-8")
    return EvalSuite(task, "openai-api/local/m", "http://127.0.0.1:1/v1", 2, 5, 3, 60)


def test_a_clone_needs_no_uv_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Path(uv_program()) == ROOT / "tools" / "uv"


def test_a_failure_shows_the_last_lines_of_both_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    body = "[print(i) for i in range(20)]; print('no such model', file=sys.stderr); sys.exit(3)"
    with pytest.raises(CommandError) as caught:
        run_inspect(fake_program(tmp_path, body), suite_of(tmp_path), PROMPT, "m", tmp_path / "logs")
    lines = str(caught.value).splitlines()
    assert lines[0] == "inspect-ai with answers.py failed with status 3. Its last lines:"
    assert "  no such model" in lines
    assert len(lines) == 7


def test_the_program_receives_suite_prompt_and_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_API_KEY", raising=False)
    monkeypatch.setenv("BAROGRAPH_CLICKHOUSE_PASSWORD", "secret")
    body = (
        "folder = pathlib.Path(sys.argv[sys.argv.index('--log-dir') + 1])\n"
        "ours = [name for name in os.environ if name.startswith('BAROGRAPH_')]\n"
        "(folder / 'x.eval').write_text(repr([sys.argv[1:], os.environ['LOCAL_API_KEY'], os.getcwd(), ours]))"
    )
    log = run_inspect(fake_program(tmp_path, body), suite_of(tmp_path), PROMPT, "support-bot", tmp_path / "logs")
    text = log.read_text(encoding="utf-8")
    for words in (
        "'eval', 'answers.py', '--model', 'openai-api/local/m', '--epochs', '2'",
        "'--metadata', 'application=support-bot', '--metadata', 'prompt=answer@8'",
        "'--model-base-url', 'http://127.0.0.1:1/v1', '--limit', '5'",
        f"'none', {str(tmp_path)!r}, []]",
    ):
        assert words in text
    assert '"name": "answer"' in (log.parent / "prompt.json").read_text(encoding="utf-8")


def test_a_program_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(CommandError, match="did not end within 1 s and was stopped"):
        run_program(program, {}, cwd=tmp_path, timeout_s=1, what="The program")


def test_an_endpoint_that_does_not_answer() -> None:
    # A port that is taken, where nobody listens.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(CommandError, match=r"does not answer: .*Start it, or name another with --endpoint"):
            require_endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
    with pytest.raises(CommandError, match="is not an address"):
        require_endpoint("ftp://127.0.0.1")


EVALS = ROOT / "examples" / "support_bot" / "evals"


def written(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_files_of_the_example() -> None:
    assert load_gate_policy(EVALS / "policy.yaml") == {"answers": SuiteRules(0.1, 50)}
    suite = read_suite_file(EVALS / "answers.yaml")
    assert (suite.task, suite.epochs, suite.items, suite.connections) == (EVALS / "answers.py", 1, None, 2)


def test_wrong_policies(tmp_path: Path) -> None:
    for text, problem in (
        ("", "suites"),
        ("suites: {a: {margin: 0.1}}", "items: is missing"),
        ("suites:\n  a: {margin: 0.05, items: 50}", "file.yaml:2: suites.a.items: 50 is too"),
        ("suites: {a: {margin: 0.1, items: 25}}", "write 26 or more, or raise the margin"),
    ):
        with pytest.raises((ContractError, CommandError), match=problem):
            load_gate_policy(written(tmp_path, text))
    with pytest.raises(CommandError, match="give the path of a policy"):
        load_gate_policy(tmp_path / "absent.yaml")


def test_wrong_suites(tmp_path: Path) -> None:
    for text, problem in (
        ("", "is empty"),
        ("suite: 1\ntask: absent.py\nmodel: m", "there is no file"),
        ("suite: 1\ntask: a.py\nmodel: m\nlimits: {items: 0}", "out of range"),
    ):
        with pytest.raises((ContractError, CommandError), match=problem):
            read_suite_file(written(tmp_path, text))
