"""The demo of drift: what changed in five months of flights, with an A/B test and an accepted baseline."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from barograph_server.alerts import AlertSettings, rules_for
from barograph_server.alerts.guard.suspected_causes import explain_verdicts, store_causes
from barograph_server.alerts.simulator import simulate
from barograph_server.contracts import contracts_in_force
from barograph_server.examples.demo.findings import Findings
from barograph_server.examples.demo.replay import Action, FlightsReplay
from barograph_server.examples.demo.season import add_season
from barograph_server.examples.flights.contract import (
    ACCEPTED_AT,
    AUTUMN,
    CANDIDATE,
    CANDIDATE_AT,
    DAY_S,
    LATE,
    MODEL,
    ROUTE,
    SCHEDULE,
    VERSION,
    WEEK,
    Calendar,
    edit_contract,
    infer_options,
    last_pane_end,
)
from barograph_server.examples.flights.features import PLANE, WEATHER
from barograph_server.profiling.infer import InferResult, infer_file
from barograph_server.provisioning.accepted_baselines import AcceptRequest, accept
from barograph_server.provisioning.catalogue import MIN_LEAD_S
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.rollouts.arm_ratios import sample_ratio, write_ratio

RECORDED = timedelta(days=200)
"""More than the length of the replay."""
BEGIN = datetime(2013, 8, 1, tzinfo=UTC)

_TIME, _TEXT = pa.timestamp("ms", "UTC"), pa.string()
_PAGES = pa.schema({"rule": _TEXT, "field": _TEXT, "begin": _TIME})
_INCIDENTS = pa.schema({"title": _TEXT, "begin": _TIME, "resolved": _TEXT, "instances": pa.list_(_TEXT)})


class FlightsDemo(FlightsReplay):
    name = "demo"
    findings = "flights"

    def work(self) -> None:
        # Loads scikit-learn, which no other command needs.
        from barograph_server.examples.flights.replay import prepare

        self.say("Start Apache Kafka and the ClickHouse engine (downloaded on the first run) and train a model")
        files = self.start(lambda: prepare(self.folder, datetime.now(UTC)))
        self._train = files.tables.train
        self._predictions, self._labels = pq.read_table(files.predictions), pq.read_table(files.labels)
        self._calendar = Calendar(files.tables.shift_weeks)
        self.record_end = last_pane_end(self._predictions)
        self.say(
            "barograph infer and apply: contract and baseline from the training table",
            f"A classifier of late arrivals, trained on June and July 2013: AUC {files.tables.out_of_fold_auc:.3f} on "
            f"held-out weeks, {files.tables.held_out_auc:.3f} on August to December. The replay moves these months by "
            f"{self._calendar.shift_weeks} weeks.",
        )
        trained = infer_file(infer_options(files.train))
        candidate = infer_file(infer_options(files.candidate_train, CANDIDATE))
        self._contract = edit_contract(trained.contract, arms=True)
        written = self.apply(edit_contract(trained.contract, arms=False), trained)
        n, n_labels = self._predictions.num_rows, self._labels.num_rows
        self.say(f"Replay {n:,} predictions and {n_labels:,} labels of August to December 2013")
        self.start_processors()
        sealed = self._calendar.replayed(AUTUMN[1])
        self._published = self.replay(
            written.contract,
            self._predictions,
            self._labels,
            {"published": n + n_labels, "sketched": n, "recorded": n + n_labels, "judged": n, "scored": n_labels},
            actions=(
                Action(self._calendar.replayed(CANDIDATE_AT), lambda: self._start_test(candidate)),
                Action(self._calendar.replayed(ACCEPTED_AT), self._accept, sealed),
            ),
        )
        self.say("Replay the alert rules, and read what was found")

    def _start_test(self, candidate: InferResult) -> None:
        self.say(
            "1 October: barograph apply starts an A/B test",
            "Version 2, which does not use weather, serves a tenth of the flights as arm b, version 1 the others as a.",
        )
        self.apply(self._contract, candidate, reason="A/B test of version 2")

    def _accept(self) -> None:
        """Accept autumn as a baseline, at the latest time allowed on the clock of the replay."""
        effective_s = int(self._calendar.replayed(ACCEPTED_AT).timestamp())
        first_s, last_s = (int(self._calendar.replayed(at).timestamp()) for at in AUTUMN)
        reason = "autumn is the expected state from now on"
        request = AcceptRequest(
            model=MODEL, version=VERSION, from_s=first_s, to_s=last_s, effective_s=effective_s, reason=reason
        )
        learned = accept(self.settings.warehouse, request, clock=lambda: effective_s - MIN_LEAD_S).learned
        moved = sorted(learned.psi.items(), key=lambda pair: -pair[1])[:3]
        heavy = [f"{each.field} ({each.now:.0%} at {each.label})" for each in learned.new_bins]
        self.say(
            "4 November: barograph baseline accept makes autumn the new baseline",
            f"{learned.baseline.rows:,} flights since 22 September. The largest shifts against June and July: "
            f"{', '.join(f'{name} (PSI {psi:.2f})' for name, psi in moved)}. Fields with many "
            f"values in one bin get new bins: {', '.join(heavy)}. Existing verdicts do not change.",
        )

    # ------------------------------------------------------------------------------------------ findings

    def measure(self, client: Client, findings: Findings) -> None:
        self._store_results(client)
        end = self.record_end
        findings.add_table(
            "predictions",
            self._predictions.select(["id", "at", "version", "arm", "score"]).append_column(
                "dest", self._predictions["features.dest"]
            ),
        )
        findings.add_table("labels", self._labels.select(["id", "at"]))
        findings.add_table("training", self._train.select(["dest"]))
        findings.add_table("weeks", self._weeks())
        findings.facts |= {
            "weeks": self._calendar.shift_weeks,
            "end": end,
            "published": self._published[0],
            "published_labels": self._published[1],
            "weather": WEATHER,
            "steady": (*SCHEDULE, *PLANE, *ROUTE),
        }
        # The last whole week before the outage: the day without weather data does not compare the arms.
        findings.facts["arm_week"] = findings.row("arm_week")["week_end"]
        midnight = datetime.fromtimestamp(end.timestamp() // DAY_S * DAY_S, UTC)
        add_season(client, findings, self._calendar.replayed(ACCEPTED_AT), midnight)
        self._add_pages(client, findings)

    def _store_results(self, client: Client) -> None:
        """Store what scorer and guard compute every few minutes or days: none does so on the clock of the replay."""
        ratio = sample_ratio(client, self._contract)
        if ratio is not None:
            write_ratio(client, ratio)
        causes = explain_verdicts(client, self._contract, self.record_end - RECORDED, self.record_end)
        store_causes(client, causes, datetime.now(UTC))

    def _weeks(self) -> pa.Table:
        """Return the performance of version 1 per week by scikit-learn; weeks start on Thursdays, as since 1970."""
        from sklearn.metrics import roc_auc_score

        own = self._predictions.filter(pc.equal(self._predictions["version"], VERSION))
        both = own.select(["id", "at", "score", "class"]).join(
            self._labels.select(["id", "label"]), "id", join_type="inner"
        )
        late, called = (pc.equal(both[name], LATE).to_numpy() for name in ("label", "class"))
        scores, week = both["score"].to_numpy(), both["at"].cast(pa.int64()).to_numpy() // 1000 // WEEK.length_s
        return pa.Table.from_pylist(
            [
                {
                    "week_end": datetime.fromtimestamp((number + 1) * WEEK.length_s, UTC),
                    "n": int(inside.sum()),
                    "auc": float(roc_auc_score(late[inside], scores[inside])),
                    "accuracy": float((late == called)[inside].mean()),
                }
                for number in np.unique(week).tolist()
                if len(np.unique(late[inside := week == number])) > 1
            ]
        )

    def _add_pages(self, client: Client, findings: Findings) -> None:
        """Replay the rules as Grafana would evaluate them, and add what would have paged."""
        settings = AlertSettings()
        rules = rules_for(contracts_in_force(client, MODEL), settings)
        since = int(self._calendar.replayed(BEGIN).timestamp())
        done = simulate(client, rules, settings, since, int(self.record_end.timestamp()), "ended")

        def original(at_s: int) -> datetime:
            return self._calendar.original(datetime.fromtimestamp(at_s, UTC))

        paging = [each for each in done.replays if each.rule.severity == "page"]
        pages = [
            {"rule": each.rule.name, "field": episode.key, "begin": original(episode.start)}
            for each in paging
            for episode in each.episodes
        ]
        incidents = [
            {
                "title": each.title,
                "begin": original(each.paged_at),
                "resolved": "still firing" if each.end is None else f"{original(each.end):%Y-%m-%d}",
                "instances": [f"{member.rule.name} {member.key}" for member in each.members.values()],
            }
            for each in done.incidents
            if each.paged_at is not None
        ]
        findings.add_table("pages", pa.Table.from_pylist(pages, _PAGES))
        findings.add_table("incidents", pa.Table.from_pylist(incidents, _INCIDENTS))
        watched = [key for each in paging if each.rule.name == "psi-major" for key in each.rule.signal.keys]
        findings.facts |= {"rules": len(rules), "watched": watched}
