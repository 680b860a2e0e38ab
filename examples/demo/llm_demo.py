"""The demo of a language model: a worse prompt is found and rolled back, and a change of topics is found."""

import json
import time
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
from barograph.contract import Contract
from barograph.contract.file import dump_contract
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.records import PromptRecord
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from barograph_server.examples.demo.base import Demo
from barograph_server.examples.demo.findings import Findings
from barograph_server.examples.support_bot.contract import (
    CANDIDATE,
    HOUR_S,
    MODEL,
    PRODUCTION,
    first_contract,
    infer_contract,
    train_topics,
)
from barograph_server.examples.support_bot.known_answers import BOT_FOLDER
from barograph_server.examples.support_bot.process import BotProcess
from barograph_server.local.child_process import choose_port
from barograph_server.local.language_model import MODEL as VERSION
from barograph_server.local.language_model import LocalLanguageModel
from barograph_server.operations.dev.processors import KINDS
from barograph_server.provisioning import apply_all
from barograph_server.rollouts.prompts.registry import change_registry, read_prompt_files
from barograph_server.settings import Settings, variable_of
from barograph_server.streams.broker.client import consumer_config
from barograph_server.streams.broker.compacted_log import reread
from barograph_server.streams.prompts.changes import Author, move_label, register_versions
from barograph_server.warehouse.client import Client, connect
from barograph_server.warehouse.operations.server import tables

WARM_UP_CALLS = 120
"""Generations that the first baseline is made from."""
COMPARED_CALLS, CHANGED_CALLS = 400, 150
"""Most generations of the comparison of prompts, and those of the changed topics."""
UNSEALED_S = 2700
"""Event time that the monitor keeps open at most: a pane, its lateness and the disorder of events."""
DAY_S = 86_400
CARD = "4556 7375 8689 9855"
"""Customers write it into questions; it must appear nowhere."""
CHANGED_TOPIC, CHANGED_SHARE = "returns", 0.7
TIMEOUT_S = 30.0


class LlmDemo(Demo):
    """A support bot on a real language model on this machine."""

    name = "llm-demo"
    findings = "llm"

    def work(self) -> None:
        self.say("Start Apache Kafka, the ClickHouse engine and a language model (SmolLM2, 135 million parameters)")
        model, codebook = self.start(lambda: (self.start_model(), train_topics()))
        origin_s = int(time.time()) // HOUR_S * HOUR_S - 2 * DAY_S
        self.say(
            "barograph apply, barograph prompts register and label",
            f"{PRODUCTION} answers in one short sentence and has the label production. {CANDIDATE} explains every "
            "step: it is slower and three times as long, and has the label candidate.",
        )
        first = first_contract(codebook)
        apply_all(self.settings, [(first, dump_contract(first))], [], [codebook], reason="the demo")
        change_registry(self.settings, _register, "demo", clock=lambda: origin_s)
        port = choose_port()
        variables = {
            variable_of("otlp.port"): str(port),
            variable_of("otlp.grpc_port"): "0",
            variable_of("otlp.wait_s"): "1",
            variable_of("scrape.targets"): json.dumps([{"model": MODEL, "url": f"{model.root_url}/metrics"}]),
            variable_of("scrape.interval_s"): "5",
            variable_of("evaluator.folder"): str(BOT_FOLDER / "evaluators"),
            variable_of("evaluator.endpoints"): json.dumps({"small": {"model": VERSION, "url": model.url}}),
        }
        self.start_processors((*KINDS, "otlp", "guard", "scrape", "evaluator"), variables)
        bot = self._start_bot(model, port, origin_s)
        with connect(self.settings.warehouse) as client:
            self._converse(bot, Findings(client, self.findings), first)
        self.record_end = datetime.now(UTC)

    def _converse(self, bot: BotProcess, findings: Findings, first: Contract) -> None:
        """Answer questions until the guard has moved the label and the topics have changed."""

        def answered() -> int:
            bot.check()
            return len(bot.calls())

        def recorded() -> int:
            return int(findings.row("recorded")["n"])

        self.say(f"Answer {WARM_UP_CALLS} questions, and barograph infer: the contract and the baseline")
        self.wait_for("recorded generations", lambda: min(answered(), recorded()), WARM_UP_CALLS)
        training = self.folder / "training.parquet"
        pq.write_table(findings.table("training"), training)
        result = infer_contract(training, first)
        self.apply(result.contract, result, "the first generations")
        self.say(f"Half of the questions go to the label candidate, {CANDIDATE}, until it is rolled back")
        bot.command("arms 0.5")
        most = len(bot.calls()) + COMPARED_CALLS
        self.wait(
            "the comparison",
            lambda: (answered(), int(findings.row("rollbacks")["n"])),
            lambda progress: progress[0] >= most or progress[1] > 0,
            lambda progress: f"{progress[0]:,} answers, {progress[1]} labels rolled back",
        )
        self.say(f"From now on {CHANGED_SHARE:.0%} of the questions are about {CHANGED_TOPIC}")
        bot.command(f"mix {CHANGED_TOPIC} {CHANGED_SHARE}")
        self.wait_for("answers", answered, len(bot.calls()) + CHANGED_CALLS)
        bot.stop()
        self._calls = bot.calls()
        n = len(self._calls)
        self.wait_for("recorded generations", recorded, n)
        self.wait(
            "the verdicts of all panes",
            lambda: int(findings.row("unsealed")["s"]),
            lambda seconds: seconds <= UNSEALED_S,
            lambda seconds: f"{seconds:,} s without verdicts",
        )
        self.wait(
            "the evaluations",
            lambda: int(findings.row("unevaluated")["n"]),
            lambda n: n <= 0,
            lambda n: f"{n:,} answers without an evaluation",
        )

    def _start_bot(self, model: LocalLanguageModel, port: int, origin_s: int) -> BotProcess:
        options = {
            "base_url": model.url,
            "model": VERSION,
            "spans_url": f"http://127.0.0.1:{port}/v1/traces",
            "bootstrap_servers": self.settings.bootstrap_servers,
            "topic_prefix": self.settings.topic_prefix,
            "record": str(self.folder / "calls.jsonl"),
            "seed": 1,
            "origin_s": origin_s,
            "plant": f"My card is {CARD}",
        }
        bot = BotProcess(MODEL, options, self.local.log_dir / "support-bot.log")
        self.stack.callback(bot.stop)
        return bot

    def measure(self, client: Client, findings: Findings) -> None:
        messages, leaks = topics_with(self.settings, CARD)
        findings.facts["card"] = CARD
        rows = 0
        for table in tables(client, stored=True):
            result = findings.row("search", table)
            rows += result["n"]
            leaks += [table] if result["hits"] else []
        findings.add_table("calls", pa.Table.from_pylist(self._calls))
        findings.facts |= {"messages": messages, "rows": rows, "leaks": leaks}
        findings.facts["unevaluated"] = findings.row("unevaluated")["n"]


def _register(catalogue: PromptCatalogue, author: Author) -> list[PromptRecord]:
    # Two contents of one prompt, registered one after the other.
    files = [BOT_FOLDER / "prompts" / name for name in ("answer.yaml", "answer_verbose.yaml")]
    added, _ = register_versions(catalogue, [draft for file in files for draft in read_prompt_files([file])], author)
    records: list[PromptRecord] = [*added]
    for label, prompt in (("production", PRODUCTION), ("candidate", CANDIDATE)):
        name, _, version = prompt.partition("@")
        change = move_label(catalogue, name, label, int(version), author, "the demo")
        assert change is not None
        records.append(change)
    return records


def topics_with(settings: Settings, text: str) -> tuple[int, list[str]]:
    """Return how many messages of the run's topics were searched, and the topics with the text in a key or value."""
    needle, searched, matches = text.encode(), 0, set()
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers, "log_level": 2})
    processor = settings.processor()
    for name, topic in sorted(admin.list_topics(timeout=TIMEOUT_S).topics.items()):
        if not name.startswith(settings.topic_prefix):
            continue
        consumer = Consumer(consumer_config(processor, "search"))
        try:
            ranges = {
                each: consumer.get_watermark_offsets(TopicPartition(name, each), TIMEOUT_S) for each in topic.partitions
            }
        finally:
            consumer.close()
        for messages in reread(processor, "search", name, ranges, poll_messages=1000, poll_s=1.0):
            searched += len(messages)
            if any(needle in (message.value() or b"") or needle in (message.key() or b"") for message in messages):
                matches.add(name)
    return searched, sorted(matches)
