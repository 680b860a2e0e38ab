"""Pages of the documentation, executed as they are written on the shared servers."""

import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import uvicorn
from barograph import Publisher
from barograph.contract.file import load_contract
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from barograph_server.cli.dev import CONTRACTS_FOLDER
from barograph_server.dashboards.macros import TimeRange
from barograph_server.examples.demo.shadow_demo import unprocessed
from barograph_server.operations.dev.processors import KINDS
from barograph_server.operations.status.read import read_status
from barograph_server.profiling.infer.errors import TableError
from barograph_server.profiling.infer.traffic import infer_traffic
from barograph_server.sample_tables import PRODUCTION
from barograph_server.settings import load_settings
from barograph_server.sketches.baseline.baseline import load_baseline
from barograph_server.warehouse.rollouts.days import matured_until
from tests.support import command_line, otlp
from tests.support.environment import unset_settings
from tests.support.pipeline import ROOT, Pipeline, wait_for
from tests.support.two_day_model import ask

DOCS = ROOT / "docs"
EXIT_CODES = {"plan": (0, 3)}
"""Of commands that report by their exit code: `plan` ends with 3 if something would change."""


def page_commands(page: str) -> list[str]:
    """List the commands of the shell blocks of a page of docs/; a quoted text or a document may span lines."""
    commands, open_lines = [], ""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines(keepends=True):
            open_lines += line
            if "<<'EOF'" in open_lines and not open_lines.endswith("\nEOF\n"):
                continue
            if "<<" in open_lines or _is_complete(open_lines):
                commands += [open_lines.strip()] if open_lines.strip() else []
                open_lines = ""
        assert not open_lines, open_lines
    return commands


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, flags=re.MULTILINE | re.DOTALL)


def _is_complete(text: str) -> bool:
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return False
    return True


@dataclass
class Shell:
    pipeline: Pipeline
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    load_report: str = ""
    addresses: dict[str, str] = field(default_factory=dict)
    """Address in the page → the one in the test."""
    services: list[tuple[uvicorn.Server, Thread]] = field(default_factory=list)
    output: str = ""
    """Of the last command."""

    def run(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        if "$(" in line:
            printed = subprocess.run(
                ["/bin/bash", "-c", f"printf '%s\\n' {line}"], check=True, capture_output=True, text=True
            )
            words = printed.stdout.splitlines()
        match words:
            case ["cd", folder]:
                self.monkeypatch.chdir(folder)
            case ["barograph", "dev", *options]:
                self._start_processors(options[1] if options else "live")
            case ["barograph", "run", "otlp", "--instance", instance]:
                self.addresses[":4318"] = f":{otlp.start(self.pipeline, instance)}"
            case ["barograph", "run", kind, "--instance", instance]:
                self.pipeline.start(kind, instance)
            case ["uvicorn", app, "--port", port]:
                self._serve(app, port)
            case ["pip", "install", *_]:
                pass
            case ["python", "-m", module, *arguments]:
                subprocess.run([sys.executable, "-m", module, *arguments], check=True, timeout=60)
            case ["barograph", *arguments]:
                self._run_barograph(arguments)
            case _:
                done = subprocess.run(
                    self.actual(line), shell=True, check=True, timeout=60, stdout=subprocess.PIPE, text=True
                )
                self.output = done.stdout

    def actual(self, text: str) -> str:
        for written, address in self.addresses.items():
            text = text.replace(written, address)
        return text

    def _run_barograph(self, arguments: list[str]) -> None:
        # On a machine that runs other tests, counting takes longer than a user would wait.
        patience = ["--timeout", "600"] if arguments[0] == "load" and "--timeout" not in arguments else []
        code = command_line.run(*arguments, *patience)
        output, errors = self.capsys.readouterr()
        assert code in EXIT_CODES.get(arguments[0], (0,)), f"{arguments}\n{output}\n{errors}"
        self.output = output
        if arguments[0] == "load":
            self.load_report = errors
        if arguments[0] == "query" and "latest_performance" in arguments[1]:
            assert len(output.splitlines()) > 1, "`load` waits until performance is judged"

    def execute(self, script: str) -> dict[str, Any]:
        from_contract = partial(Publisher.from_contract, topic_prefix=self.pipeline.prefix)
        names: dict[str, Any] = {"__name__": "__main__"}
        with self.monkeypatch.context() as patch:
            patch.setattr(Publisher, "from_contract", from_contract)
            exec(compile(script, "serve.py", "exec"), names)
        return names

    def _serve(self, app: str, port: str) -> None:
        module, _, name = app.partition(":")
        application = self.execute(Path(f"{module}.py").read_text(encoding="utf-8"))[name]
        with socket.create_server(("127.0.0.1", 0)) as free:
            chosen = free.getsockname()[1]
        self.addresses[f":{port}/"] = f":{chosen}/"
        server = uvicorn.Server(uvicorn.Config(application, port=chosen, log_level="warning"))
        thread = Thread(target=server.run)
        thread.start()
        self.services.append((server, thread))
        wait_for(lambda: server.started, "the service")

    def stop(self) -> None:
        for server, thread in self.services:
            server.should_exit = True
            thread.join(30)

    def _start_processors(self, clock: str) -> None:
        """Do what `dev` does, on the shared servers: apply the contracts and start each processor.

        tests/integration/test_cli_dev.py tests the command itself.
        """
        self._run_barograph(["apply", *map(str, CONTRACTS_FOLDER.glob("*.yaml"))])
        days = load_settings(None, needs=()).retention_days
        self.pipeline.clock = clock
        for kind in KINDS:
            settings: dict[str, Any] = {"score_s": 0.5} if kind == "scorer" else {}
            self.pipeline.start(kind, retention_days=days, **settings)
        # Where other tests run, a processor may start for longer than `load` waits for its first report.
        self.pipeline.wait_rows(f"SELECT uniqExact(kind) = {len(KINDS)} FROM pipeline", "reports of all processors")


@pytest.fixture
def shell(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shell]:
    monkeypatch.chdir(tmp_path)
    unset_settings(monkeypatch)
    address = pipeline.address
    for name, value in {
        "BOOTSTRAP_SERVERS": pipeline.bootstrap,
        "TOPIC_PREFIX": pipeline.prefix,
        "PREDICTIONS_PARTITIONS": 2,
        "LABELS_PARTITIONS": 2,
        "PARTIALS_PARTITIONS": pipeline.partials_partitions,
        "CLICKHOUSE_HOST": address.host,
        "CLICKHOUSE_PORT": address.port,
        "CLICKHOUSE_DATABASE": address.database,
        "CLICKHOUSE_USERNAME": address.username,
        "CLICKHOUSE_PASSWORD": address.password,
    }.items():
        monkeypatch.setenv(f"BAROGRAPH_{name}", str(value))
    result = Shell(pipeline, capsys, monkeypatch)
    yield result
    result.stop()


__all__ = ["shell"]

MODEL, VERSION = "support-bot", "gpt-4o-2024-08-06"
BEGIN_S = int(time.time()) // 3600 * 3600 - 8 * 3600
N, FAILED_EVERY = 1600, 20
CALL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}


def follow(shell: Shell, page: str, **output: str) -> None:
    """Run the commands of a page; a command that begins with a name of `output` must print its text."""
    for line in page_commands(f"start/{page}.md"):
        shell.run(line)
        for command, text in output.items():
            if line.startswith(f"barograph {command}"):
                assert text in shell.output, (line, shell.output)


@pytest.mark.smoke
def test_two_tables(shell: Shell) -> None:
    follow(shell, "tables", compare="auc 0.650 instead of 0.762")
    assert "<svg" in Path("report.html").read_text(encoding="utf-8")
    (notebook,) = blocks("start/tables.md", "python")
    report = shell.execute(notebook)["report"]
    assert "<svg" in report._repr_html_()


def test_a_service(shell: Shell) -> None:
    (script,) = blocks("start/service.md", "python")
    Path("serve.py").write_text(script, encoding="utf-8")
    for line in page_commands("start/service.md"):
        if line.startswith("barograph query"):
            assert '"score":' in shell.output
            shell.pipeline.wait_rows("SELECT count() = 1 FROM predictions", "the recorded call")
        shell.run(line)
    assert "flight-delay" in shell.output


def test_questions_and_the_way_from_a_page_to_its_cause(shell: Shell) -> None:
    follow(shell, "analyst", query="2")
    assert "8,062 sent = 8,062 counted" in shell.load_report
    answers = (r" 9[23]\d\n", r"pressure +above.+\ntemp.+\ndewp", r"wind_speed.+ 1\.[89]\d*\nvisib", r"0\.[56].+major")
    for query, answer in zip(page_commands("start/analyst.md")[-4:], answers, strict=True):
        shell.run(query)
        assert re.search(answer, shell.output), (query, shell.output)
    follow(shell, "on-call", status="performance of auc", changes="No change is recorded", simulate="page")


def test_own_servers(shell: Shell) -> None:
    shell.pipeline.clock = "live"
    follow(shell, "platform", plan="flight-delay", doctor="matching baselines", status="major")
    assert "8,062 sent = 8,062 counted" in shell.load_report


def call_the_model(seed: int, begin_s: int) -> None:
    """Send N calls in two hours, of which one in 20 failed, and one span whose operation is unknown."""
    rng = np.random.default_rng(seed)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("bot")
    for i in range(N):
        answer = {
            "gen_ai.response.model": VERSION,
            "gen_ai.usage.input_tokens": int(rng.lognormal(6, 0.5)),
            "gen_ai.usage.output_tokens": int(rng.lognormal(5, 0.5)),
        }
        failed = i % FAILED_EVERY == FAILED_EVERY - 1
        start_ns = int((begin_s + 7200 * i / N) * 1e9)
        attributes = CALL | ({"error.type": "RateLimitError"} if failed else answer)
        span = tracer.start_span("chat gpt-4o", attributes=attributes, start_time=start_ns)
        span.end(start_ns + int(rng.lognormal(20, 0.4)))
    tracer.start_span("video", attributes={**CALL, "gen_ai.operation.name": "video"}).end()
    provider.shutdown()


def time_at(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


@pytest.mark.smoke
def test_a_language_model_is_shown_without_a_baseline_until_its_calls_make_one(shell: Shell) -> None:
    pipeline = shell.pipeline
    write_contract, dev, receiver, *_packages, infer = page_commands("start/llm.md")
    shell.run(write_contract)
    # The calls are of the last hours, and on the replay clock a partition without any would hold back the others.
    shell.monkeypatch.setenv("BAROGRAPH_PREDICTIONS_PARTITIONS", "1")
    shell.run(dev.replace("barograph dev", "barograph dev --clock replay"))
    shell.run(receiver)
    for name, value in re.findall(r"\b(OTEL_\w+)=(\S+)", (DOCS / "start/llm.md").read_text(encoding="utf-8")):
        shell.monkeypatch.setenv(name, shell.actual(value))
    call_the_model(1, BEGIN_S)
    pipeline.wait_rows(f"SELECT sum(n) = {N} FROM volume FINAL WHERE slice = 'all'", "all calls in panes")
    pipeline.wait_rows(f"SELECT count() = {N} FROM predictions FINAL", "all calls recorded")
    pipeline.wait_rows("SELECT count() > 10 FROM latest_distances", "described windows")
    times = TimeRange.between(time_at(BEGIN_S - 3600), time_at(BEGIN_S + 7 * 3600))
    chosen: dict[str, Any] = {"model": MODEL, "version": VERSION, "window": "1h"}
    with pipeline.client as client:
        assert ask(client, "variables.language_models", time_range=times) == [(MODEL,)]
        assert {*ask(client, "variables.windows", time_range=times, model=MODEL)} >= {("15m",), ("1h",)}
        ((errors, _),) = ask(client, "traffic.errors_now", time_range=times, **chosen)
        assert errors == pytest.approx(1 / FAILED_EVERY)
        assert sum(row[2] for row in ask(client, "costs.version", time_range=times, **chosen)) > 1
        tokens = ask(client, "generations.tokens_per_generation", time_range=times, **chosen)
        assert all((300 < n < 700) if kind == "input" else (100 < n < 250) for _, kind, n in tokens), tokens
        latency = ask(client, "traffic.latency", time_range=times, **chosen)
        assert {kind for _, kind, _ in tokens} == {"input", "output"}
        assert latency
        assert all(200 < row[1] < 1000 < row[3] for row in latency)
        ((*_, last, _),) = ask(client, "fleet.models_now", time_range=times)
        assert last in ("< 5 h ago", "< 6 h ago")
        (spans,) = pipeline.wait_rows(
            "SELECT count() > 0 FROM processor_metrics WHERE metric LIKE '%video'", "a report"
        )
        assert spans
        status = read_status(client)
        (model,) = status.models
        assert (model.version, model.levels["stable"], set(model.reasons)) == (VERSION, 0, {"no baseline"})
        assert [problem.text for problem in status.problems] == ["spans, unknown operation video"]
        last_minutes = TimeRange.between(time_at(time.time() - 3600), time_at(time.time() + 60))
        assert [row[:2] for row in ask(client, "generations.uncounted", time_range=last_minutes)] == [
            ("unknown operation video", 1)
        ]
        with pytest.raises(TableError, match=r"0 recorded predictions .* a baseline needs 769"):
            infer_traffic(client, MODEL, since=time_at(time.time()))
    file = Path("contracts/support-bot.yaml")
    first = load_contract(file)
    shell.run(infer)
    contract = load_contract(file)
    sources = {field.name: field.source for field in contract.fields}
    assert sources["output_tokens"] == "metrics.output_tokens"
    assert sources["request_model"] == "context.request_model"
    assert set(first.fields) <= set(contract.fields)
    assert contract.prices == first.prices
    assert contract.slo.error_rate == 0.1  # The upper limit of 80 of 1,600 is 6.2 %.
    path = Path(f"contracts/{MODEL}.{VERSION}.baseline.json")
    baseline = load_baseline(path.read_bytes(), path.name)
    assert (baseline.version, baseline.rows) == (VERSION, N - N // FAILED_EVERY)
    assert all(field.slices["all"].cells[-1] == 0 for field in baseline.fields if field.name != "ttft_ms")
    pipeline.wait_flushed()
    call_the_model(2, BEGIN_S + 3 * 3600)
    pipeline.wait_rows(f"SELECT sum(n) = {2 * N} FROM volume FINAL WHERE slice = 'all'", "each call once")
    pipeline.wait_rows(
        "SELECT countIf(level = 'stable') > 5 FROM latest_drift "
        f"WHERE version = '{VERSION}' AND baseline_id = '{baseline.id}'",
        "verdicts on the baseline of the recorded calls",
    )
    with pipeline.client as client:
        assert "no baseline" not in read_status(client).models[0].reasons


@pytest.mark.long
def test_a_candidate_is_promoted_with_verified_evidence(shell: Shell) -> None:
    page = "tutorials/shadow.md"
    (script,) = blocks(page, "python")
    production = pq.read_table(PRODUCTION)
    unknown = sum(carrier in ("AS", "F9", "HA", "OO", "YV") for carrier in production["carrier"].to_pylist())
    n, labelled = len(production), len(production["late"].drop_null())
    for line in page_commands(page):
        if line == "python serve.py":
            shell.execute(script)
            served = shell.capsys.readouterr().out
            assert f"submitted={n}" in served
            assert f"'answered': {n - unknown}" in served
            assert f"'error': {unknown}" in served
            continue
        if line.startswith("barograph shadow status"):
            shell.pipeline.wait_rows(
                f"SELECT sum(labelled + missing_labelled) = {labelled} FROM shadow_pairs FINAL WHERE slice = 'all'",
                "all labelled requests in pairs",
            )
            since = time.time() - 10 * 86_400
            with shell.pipeline.client as client:
                wait_for(lambda: matured_until(client, "flight-delay", "1") > since, "days with mature labels")  # noqa: B023
        if line.startswith("barograph shadow export"):
            wait_for(lambda: not unprocessed(shell.pipeline.client), "the scorer's checkpoint", 180.0)
        shell.run(line)
        if line.startswith("barograph promote"):
            assert f"{n:,} requests = {n - unknown:,} pairs" in shell.output
            assert f"+ {unknown:,} candidate errors" in shell.output
            assert "decision: promote" in shell.output
        if line.startswith("barograph shadow verify"):
            assert "equal to the bit" in shell.output
    assert {"report.html", "evidence.zip"} <= {path.name for path in Path().iterdir()}
