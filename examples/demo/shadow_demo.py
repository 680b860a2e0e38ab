"""The demo of a shadow: a candidate without weather features answers the same flights, and the decision about it."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import pyarrow.compute as pc
import pyarrow.parquet as pq
from barograph.contract import Window

from barograph_server.examples.demo.findings import Findings
from barograph_server.examples.demo.replay import FlightsReplay
from barograph_server.examples.flights.contract import (
    DAY_S,
    MODEL,
    SHADOW,
    WEEK,
    edit_contract,
    infer_options,
    last_pane_end,
)
from barograph_server.profiling.infer import infer_file
from barograph_server.rollouts.candidate import evaluate
from barograph_server.rollouts.decision_text import print_decision
from barograph_server.rollouts.evidence.bundle import DECISION, write_bundle
from barograph_server.rollouts.evidence.parts import collect_evidence
from barograph_server.rollouts.evidence.verify import print_verification, verify_bundle
from barograph_server.sketches.rollout.looks import decide_at
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.scoring.new_rows import TOPICS, partition_ends, read_checkpoints

WINDOWS = (Window(DAY_S, DAY_S), WEEK)
"""One window of drift per day instead of one per hour: this demo is about the candidate."""


class ShadowDemo(FlightsReplay):
    name = "shadow-demo"
    findings = "shadow"

    def work(self) -> None:
        # Loads scikit-learn, which no other command needs.
        from barograph_server.examples.flights.shadow import build_shadow

        self.say("Start Apache Kafka and the ClickHouse engine (downloaded on the first run) and train two models")
        flights = self._flights = self.start(lambda: build_shadow(datetime.now(UTC)))
        self.record_end = last_pane_end(flights.predictions)
        self.say("barograph infer and apply: baseline, and a contract with a section `shadow`")
        train = self.folder / "train.parquet"
        pq.write_table(flights.train, train)
        trained = infer_file(replace(infer_options(train), arms=None, windows=WINDOWS))
        written = self.apply(edit_contract(trained.contract, arms=False, shadow=SHADOW), trained)
        n, n_shadows, n_labels = (each.num_rows for each in (flights.predictions, flights.shadows, flights.labels))
        self.say(
            f"Replay {n:,} predictions of version {SHADOW.of}, {n_shadows:,} with the role shadow, and {n_labels:,} "
            "labels of August to December 2013",
            f"Version {SHADOW.candidate}, the candidate, has no weather features. The demo adds faults: 1 in 250 of "
            "its answers times out, 1 in 500 calls raises an exception, and on 24 October it publishes nothing for "
            f"three hours. Version {SHADOW.copy} is a second copy of the primary.",
        )
        self.start_processors()
        sent = n + n_shadows + n_labels
        totals = {"published": sent, "sketched": n, "recorded": sent, "judged": n, "scored": n_labels}
        totals["paired"] = 2 * (n + n_labels)
        self.replay(written.contract, flights.predictions, flights.labels, totals, shadows=flights.shadows)

    def measure(self, client: Client, findings: Findings) -> None:
        flights = self._flights
        columns = ["id", "score", "class"]
        candidate = flights.shadows.filter(pc.equal(flights.shadows["version"], SHADOW.candidate))
        findings.add_table("predictions", flights.predictions.select(columns))
        findings.add_table("shadows", candidate.select([*columns, "error"]))
        findings.add_table("labels", flights.labels.select(["id", "label"]))
        evaluation = evaluate(client, MODEL)
        decision, sums = evaluation.decision, evaluation.whole.sums
        # As if somebody had looked after every day once its labels were mature.
        shift = timedelta(weeks=flights.shift_weeks)
        outcomes = [
            (decide_at(evaluation.test.shadow, evaluation.slices, day).outcome.value, date.fromisoformat(day) - shift)
            for day in evaluation.whole.days
        ]
        findings.facts |= {
            "outcome": decision.outcome.value,
            "periods": [f"{name} from {next(days)[1]}" for name, days in groupby(outcomes, lambda each: each[0])],
            "worse": sorted({each.criterion.name for each in decision.criteria if each.is_harmed}),
            "met": sorted({each.criterion.name for each in decision.criteria if each.is_met}),
            "brier": float(sums["brier_primary"].sum() - sums["brier_candidate"].sum()),
        }
        self.say(f"May version {SHADOW.candidate} replace version {SHADOW.of}? barograph promote --model {MODEL}")
        print_decision(self.terminal, evaluation)
        self._verify_evidence(client, findings)

    def _verify_evidence(self, client: Client, findings: Findings) -> None:
        self.say(
            "Evidence: barograph shadow export and verify, once the scorer's checkpoint has passed all rows",
            "The bundle has the daily sums, the decision, the contract, and the Kafka offsets "
            "behind them. `verify` computes all of it again from ClickHouse.",
        )
        self.wait(
            "the scorer's checkpoint to pass all rows",
            lambda: unprocessed(client),
            lambda n: n == 0,
            lambda n: f"{n:,} rows after the checkpoint",
        )
        bundle = self.folder / "evidence.zip"
        bundle.unlink(missing_ok=True)  # of the run before
        write_bundle(bundle, collect_evidence(client, MODEL))
        verification = verify_bundle(client, bundle)
        print_verification(self.terminal, verification)
        findings.facts |= {
            "verified_outcome": json.loads(verification.bundle.parts[DECISION])["outcome"],
            "digest": verification.bundle.digest[:16],
            "is_equal": int(verification.is_equal),
        }


def unprocessed(client: Client) -> int:
    """Count the rows after the scorer's checkpoint: evidence covers the rows up to it."""
    checkpoints = read_checkpoints(client)
    return sum(end.rows for topic in TOPICS for end in partition_ends(client, topic, checkpoints[topic]).values())
