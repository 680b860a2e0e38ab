"""The demo of a language model: a worse prompt is found and rolled back, and a change of topics is found."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from barograph.contract import Contract
from barograph.contract.file import dump_contract
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.records import PromptRecord

from barograph_server.examples import support_bot
from barograph_server.examples.demo.fresh_start import LLM_DEMO
from barograph_server.examples.demo.llm.bot_process import BotProcess
from barograph_server.examples.demo.llm.evaluated import unevaluated
from barograph_server.examples.demo.llm.findings import expectations, read_findings, report_findings
from barograph_server.examples.demo.llm.model_demo import ModelDemo
from barograph_server.examples.demo.llm.training import (
    CANDIDATE,
    HOUR_S,
    MODEL,
    PRODUCTION,
    first_contract,
    infer_contract,
    train_topics,
)
from barograph_server.examples.demo.queries import guard_change
from barograph_server.local.child_process import choose_port
from barograph_server.local.language_model import MODEL as VERSION
from barograph_server.local.language_model import LocalLanguageModel
from barograph_server.operations.dev.processors import KINDS
from barograph_server.provisioning import apply_all
from barograph_server.rollouts.prompts.registry import change_registry, read_prompt_files
from barograph_server.settings import Settings, variable_of
from barograph_server.streams.prompts.changes import Author, move_label, register_versions
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.history.served_predictions import served_range

PROMPTS_FOLDER = Path(str(support_bot.__file__)).parent / "prompts"
EVALUATORS_FOLDER = PROMPTS_FOLDER.with_name("evaluators")
WARM_UP_CALLS = 120
"""Generations that the first baseline is made from."""
COMPARED_CALLS, CHANGED_CALLS = 400, 150
"""Most generations of the comparison of prompts, and those of the changed topics."""
PHASE_S = 400.0
"""Longest duration of a phase; a busy machine answers slowly."""
COUNTED_S = 90.0
"""Longest time until the last generation is counted."""
DAY_S = 86_400
CARD = "4556 7375 8689 9855"
"""Customers write it into questions; it must appear nowhere."""
CHANGED_TOPIC, CHANGED_SHARE = "returns", 0.7
AUTHOR = "demo"


class LlmDemo(ModelDemo):
    """A support bot on a real language model on this machine."""

    def __init__(self, root: Path | None, terminal: Terminal, stack: ExitStack) -> None:
        """Describe a run without starting anything; the arguments are those of `DemoRun`."""
        super().__init__(root, terminal, stack, LLM_DEMO)

    def run(self) -> bool:
        began_s = time.monotonic()
        self._report.heading(
            "Start Apache Kafka, the ClickHouse engine and a language model (SmolLM2, 135 million parameters)"
        )
        with self._terminal.status("about 15 s"), ThreadPoolExecutor(1) as pool:
            starting = pool.submit(self._start_stack)
            model = self._start_model()
            with self._timed("codebook"):
                codebook = train_topics()
            settings = self._settings = starting.result()
        self._folder.mkdir(parents=True, exist_ok=True)
        origin_s = int(time.time()) // HOUR_S * HOUR_S - 2 * DAY_S
        self._report.heading("barograph apply, barograph prompts register and label")
        with self._timed("apply"):
            first = first_contract(codebook)
            apply_all(settings, [(first, dump_contract(first))], [], [codebook], reason="the demo")
            self._register_prompts(settings, origin_s)
        port = choose_port()
        variables = {
            variable_of("otlp.port"): str(port),
            variable_of("otlp.wait_s"): "1",
            variable_of("scrape.targets"): f"{MODEL}={model.root_url}/metrics",
            variable_of("scrape.interval_s"): "5",
            variable_of("evaluator.folder"): str(EVALUATORS_FOLDER),
            variable_of("evaluator.endpoints"): f"small={VERSION}@{model.url}",
        }
        self._start_processors(settings, (*KINDS, "otlp", "guard", "scrape", "evaluator"), variables)
        bot = self._start_bot(settings, model, port, origin_s)
        with connect(settings.warehouse) as client:
            self._warm_up(settings, client, bot, first)
            self._compare(client, bot)
            self._change_topics(bot)
            bot.stop()
            with self._timed("counting"):
                calls = bot.calls()
                self._wait(
                    lambda: _recorded(client) >= len(calls),
                    COUNTED_S,
                    f"{len(calls)} recorded generations",
                )
                self._wait(lambda: unevaluated(client) == 0, COUNTED_S, "the evaluations of all answers")
            self._record_end = datetime.now(UTC)
            findings = read_findings(settings, client, calls, CARD)
        report_findings(self._report, findings)
        current = expectations(findings)
        self._report.expectations(current)
        self._report.times(self._times_s | {"in all": time.monotonic() - began_s})
        return all(each.is_met for each in current)

    # ------------------------------------------------------------------------------------------ steps

    def _register_prompts(self, settings: Settings, at_s: int) -> None:
        # Two contents of one prompt, registered one after the other.
        files = (PROMPTS_FOLDER / "answer.yaml", PROMPTS_FOLDER / "answer_verbose.yaml")
        drafts = [draft for file in files for draft in read_prompt_files([file])]

        def plan(catalogue: PromptCatalogue, author: Author) -> list[PromptRecord]:
            added, _ = register_versions(catalogue, drafts, author)
            records: list[PromptRecord] = [*added]
            for label, prompt in (("production", PRODUCTION), ("candidate", CANDIDATE)):
                name, _, version = prompt.partition("@")
                change = move_label(catalogue, name, label, int(version), author, "the demo")
                assert change is not None
                records.append(change)
            return records

        change_registry(settings, plan, AUTHOR, clock=lambda: at_s)
        self._report.paragraph(
            f"{PRODUCTION} answers in one short sentence and has the label production. {CANDIDATE} explains every "
            "step: it is slower and three times as long, and has the label candidate."
        )

    def _start_bot(self, settings: Settings, model: LocalLanguageModel, port: int, origin_s: int) -> BotProcess:
        options = {
            "base_url": model.url,
            "model": VERSION,
            "spans_url": f"http://127.0.0.1:{port}/v1/traces",
            "bootstrap_servers": settings.bootstrap_servers,
            "topic_prefix": settings.topic_prefix,
            "record": str(self._folder / "calls.jsonl"),
            "seed": 1,
            "origin_s": origin_s,
            "plant": f"My card is {CARD}",
        }
        bot = BotProcess(options, self._local.log_dir / "support-bot.log")
        self._stack.callback(bot.stop)
        return bot

    def _warm_up(self, settings: Settings, client: Client, bot: BotProcess, first: Contract) -> None:
        self._report.heading(f"Answer {WARM_UP_CALLS} questions, and barograph infer: the contract and the baseline")
        with self._timed("warm-up"):
            self._wait(
                lambda: _recorded(client) >= WARM_UP_CALLS,
                PHASE_S,
                "the first generations",
                bot.check,
            )
        with self._timed("infer"):
            result = infer_contract(client, self._folder / "training.parquet", first)
            written = result.write_contract(self._folder, force=True)
        self._report.decisions(result, "generations of the first hours")
        text = dump_contract(result.contract)
        written.contract.write_text(text, encoding="utf-8")
        apply_all(settings, [(result.contract, text)], [result.baseline], reason="the first generations")

    def _compare(self, client: Client, bot: BotProcess) -> None:
        self._report.heading(f"Half of the questions go to the label candidate, {CANDIDATE}, until it is rolled back")
        bot.command("arms 0.5")
        most = len(bot.calls()) + COMPARED_CALLS
        with self._timed("comparison"):
            self._wait(
                lambda: guard_change(client) is not None or len(bot.calls()) >= most,
                PHASE_S,
                "the comparison",
                bot.check,
            )

    def _change_topics(self, bot: BotProcess) -> None:
        self._report.heading(f"From now on {CHANGED_SHARE:.0%} of the questions are about {CHANGED_TOPIC}")
        bot.command(f"mix {CHANGED_TOPIC} {CHANGED_SHARE}")
        most = len(bot.calls()) + CHANGED_CALLS
        with self._timed("changed topics"):
            self._wait(lambda: len(bot.calls()) >= most, PHASE_S, "the changed topics", bot.check)


def _recorded(client: Client) -> int:
    return served_range(client, MODEL, None)[0]
