"""The evidence about the candidate: a bundle, written and verified."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from barograph_server.examples.demo.errors import DemoError
from barograph_server.examples.demo.expectation import DemoExpectation
from barograph_server.examples.demo.flights import MODEL
from barograph_server.examples.demo.report import DemoReport
from barograph_server.examples.demo.shadow.findings import CandidateFindings
from barograph_server.rollouts.evidence.bundle import DECISION
from barograph_server.rollouts.evidence.verify import Verification, print_verification
from barograph_server.terminal import Terminal
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring.new_rows import TOPICS, partition_ends, read_checkpoints

CHECKPOINT_S = 180.0
"""Longest wait for the scorer's checkpoint, which follows the rows by one to two minutes."""
POLL_S = 1.0


def wait_until_processed(client: Client, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until the scorer's checkpoint has passed all rows: evidence covers the rows up to it.

    Raises:
        DemoError: it does not, for three minutes.
    """
    waited_s = 0.0
    while not is_processed(client):
        if waited_s >= CHECKPOINT_S:
            raise DemoError(
                f"The scorer's checkpoint has not passed all rows for {CHECKPOINT_S:.0f} s. See the scorer's log."
            )
        sleep(POLL_S)
        waited_s += POLL_S


def is_processed(client: Client) -> bool:
    """Return whether the scorer's checkpoint has passed all rows."""
    checkpoints = read_checkpoints(client)
    return not any(partition_ends(client, topic, checkpoints[topic]) for topic in TOPICS)


def report_evidence(report: DemoReport, terminal: Terminal, bundle: Path, verification: Verification) -> None:
    """Print where the bundle is, and the result of its verification."""
    report.signal("Evidence", "what the decision rests on, to be computed again")
    report.paragraph(
        "The bundle has the daily sums, the decision, the contract, and the Kafka offsets behind "
        "them. `verify` computes all of it again from ClickHouse."
    )
    report.line(f"  {report.command} shadow export --model {MODEL} --out {bundle.name}", "cyan")
    report.line(f"  {report.command} shadow verify {bundle.name}", "cyan")
    print_verification(terminal, verification)


def expect_evidence(findings: CandidateFindings, verification: Verification) -> Iterator[DemoExpectation]:
    """Compare the bundle with the warehouse, and its decision with that of `promote`."""
    decision = json.loads(verification.bundle.parts[DECISION])
    yield DemoExpectation(
        "the evidence is verified equal to the bit, and has the same decision",
        verification.is_equal and decision["outcome"] == findings.evaluation.decision.outcome.value,
        f"{decision['outcome']}, digest {verification.bundle.digest[:16]}…",
    )
