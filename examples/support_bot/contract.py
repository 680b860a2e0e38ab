"""The support bot's codebook of topics, its contracts, and its first baseline from recorded generations."""

import dataclasses
import random
from pathlib import Path

import msgspec
from barograph.contract import Arms, Contract, Field, Rollback, Slo, Text, TokenPrice, Window
from barograph.contract.evaluators import Evaluator, EvaluatorBudget
from barograph.text.codebook import Codebook
from barograph.text.embedding import SentenceEncoder
from barograph.text.training import train_codebook

from barograph_server.examples.support_bot.questions import TOPICS, even_mix, question
from barograph_server.local.language_model import MODEL as VERSION
from barograph_server.profiling.infer import InferOptions, InferResult, Roles, infer_file

MODEL = "support-bot"
PROMPT = "answer"
PRODUCTION, CANDIDATE = f"{PROMPT}@1", f"{PROMPT}@2"
"""The versions of the prompt, which are the arms of the test."""
HOUR_S = 3600
WINDOW = Window(6 * HOUR_S, HOUR_S)
METRICS = ("input_tokens", "output_tokens", "cached_input_tokens", "ttft_ms", "time_per_output_token_ms")
"""Metrics of a generation that become fields."""
SLO = Slo(error_rate=0.02)
TRAINING_QUESTIONS = 1000
ARMS = Arms(shares={PRODUCTION: 0.5, CANDIDATE: 0.5}, control=PRODUCTION)
ROLLBACK = Rollback(
    prompt=PROMPT,
    label="candidate",
    to="production",
    margins={"output_tokens": 0.2, "latency": 0.2},
    mode="act",
    events=100,
)
"""At most a fifth more tokens, and a fifth slower. Otherwise the guard lets `candidate` point to the prompt in
production."""


EVALUATORS = {
    "refuses": Evaluator(check="refusal"),
    "helpful": Evaluator(judge="helpful.yaml", endpoint="small", share=0.05, budget=EvaluatorBudget(calls=2_000)),
}
"""A check of all answers, and the bot's own model as a judge of a few: it is too small to be a good one."""
PRICES = (TokenPrice(version="*", input=0.1, output=0.4),)
"""An invented price, in US dollars per million tokens."""


def train_topics() -> Codebook:
    """Train the codebook with questions of customers; each topic gets a number."""
    rng = random.Random(0)  # noqa: S311 - questions, no secrets
    questions = [question(rng, even_mix()) for _ in range(TRAINING_QUESTIONS)]
    encoder = SentenceEncoder()
    return train_codebook(encoder.encode(questions), encoder.name(), n_clusters=len(TOPICS))


def first_contract(codebook: Codebook) -> Contract:
    """Return the contract before there is a baseline: generations are counted, and nothing is judged."""
    return Contract(
        model=MODEL,
        pane_s=HOUR_S // 4,
        lateness_s=HOUR_S // 4,
        out_of_order_s=HOUR_S // 4,
        windows=(WINDOW,),
        text=Text(codebook=codebook.id, languages=("en",), content="redact", sample=1.0),
        evaluators=EVALUATORS,
        slo=SLO,
        prices=PRICES,
    )


def infer_contract(table: Path, first: Contract) -> InferResult:
    """Infer contract and baseline from a table of recorded generations."""
    options = InferOptions(
        table=table,
        model=MODEL,
        version=VERSION,
        roles=Roles(time="at"),
        pane_s=first.pane_s,
        windows=first.windows,
        arms=ARMS,
    )
    result = infer_file(options)
    contract = msgspec.structs.replace(
        result.contract,
        fields=tuple(map(_of_generation, result.contract.fields)),
        lateness_s=first.lateness_s,
        out_of_order_s=first.out_of_order_s,
        text=first.text,
        evaluators=first.evaluators,
        slo=SLO,
        prices=PRICES,
        rollback=ROLLBACK,
    )
    return dataclasses.replace(result, contract=contract)


def _of_generation(field: Field) -> Field:
    """Return the field with the member of events that it reads, and with the sketch for tails."""
    if field.name in METRICS:
        return msgspec.structs.replace(field, source=f"metrics.{field.name}", sketch="req")
    return msgspec.structs.replace(field, critical=field.name == "topic")
