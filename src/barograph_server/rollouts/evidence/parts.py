"""The parts of an evidence bundle: what a decision rests on, and from which rows and code it was computed."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from barograph_server import rollouts, sketches, warehouse
from barograph_server.errors import CommandError
from barograph_server.rollouts.candidate import CandidateEvaluation, CandidateTest, evaluation_of, read_test
from barograph_server.rollouts.evidence.bundle import CONTRACT, DAYS, DECISION, PROVENANCE, encode_json
from barograph_server.rollouts.evidence.recount import RecountedPairs, pairs_as_of
from barograph_server.sketches.baseline.baseline import ALL
from barograph_server.sketches.rollout.decision import DECISION_RULES
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.operations.server import server_version
from barograph_server.warehouse.queries import BaselineRow
from barograph_server.warehouse.rollouts.as_of import (
    OffsetRanges,
    TopicOffsets,
    first_window,
    has_raw_rows,
    offset_ranges,
    processed_until_ms,
)
from barograph_server.warehouse.rollouts.days import matured_until, read_totals
from barograph_server.warehouse.scoring.new_rows import EpochPartition, Topic

LIBRARIES = ("clickhouse-connect", "msgspec", "numpy", "pyarrow", "pyyaml", "scipy")
"""Libraries that take part in the computation."""
_LONGEST_DAY_S = 25 * 3600
"""Length of the longest local day, in seconds: the one on which summer time ends."""


@dataclass(frozen=True, slots=True)
class Scope:
    offsets: TopicOffsets
    """Per topic and partition, the last offset that counts."""
    since_s: int
    """Start of the first score window, Unix seconds."""
    until_s: int
    """End of the last day, Unix seconds."""
    matured_s: int
    """End of the last day with mature labels, Unix seconds; 0 without any."""


def collect_evidence(client: Client, model: str, candidate: str | None = None) -> dict[str, bytes]:
    """Return the parts of the bundle of a candidate, from the days that are over.

    Args:
        candidate: the candidate that the caller expects; None: that of the contract.
    """
    test = read_test(client, model, candidate)
    since_s = first_window(client, test.parameters)
    stored = read_totals(client, test.parameters)
    processed_s = processed_until_ms(client, test.parameters) // 1000
    if not processed_s and has_raw_rows(client, test.parameters):
        raise CommandError(
            f"The scorer's checkpoint has not passed the first rows of {model} version {test.shadow.of}: it follows "
            "them by one to two minutes. Export the evidence then."
        )
    # A day is over in the rows that the scorer has processed, unless only the pairs are left.
    newest_s = min(stored.newest_end_s, processed_s) if processed_s else stored.newest_end_s
    ends = sorted({row[0] for (name, _), row in stored.rows.items() if name == ALL and row[0] <= newest_s})
    if not ends:
        raise CommandError(
            f"No day with pairs of {model} versions {test.shadow.candidate} and {test.shadow.of} is over: export "
            f"evidence after the first day. See `barograph shadow status --model {model}`."
        )
    first_s = ends[0] - _LONGEST_DAY_S
    ranges = offset_ranges(client, test.parameters, first_s, ends[-1])
    matured_s = matured_until(client, model, test.shadow.of)
    mature = max((end for end in ends if end <= matured_s), default=0)
    scope = Scope(
        {topic: {key: last for key, (_, last) in own.items()} for topic, own in ranges.items()},
        since_s,
        ends[-1],
        mature,
    )
    evaluation, _ = evaluate_as_of(client, test, scope)
    return make_parts(client, evaluation, ranges, since_s)


def evaluate_as_of(client: Client, test: CandidateTest, scope: Scope) -> tuple[CandidateEvaluation, RecountedPairs]:
    """Decide about a candidate from the rows of a scope."""
    recounted = pairs_as_of(client, test, scope.offsets, scope.since_s, scope.until_s)
    return evaluation_of(test, recounted.totals, scope.matured_s), recounted


def make_parts(client: Client, evaluation: CandidateEvaluation, ranges: OffsetRanges, since_s: int) -> dict[str, bytes]:
    """Return the parts of a bundle; its first score window starts at `since_s`, Unix seconds."""
    test = evaluation.test
    provenance = {
        "model": test.model,
        "candidate": test.shadow.candidate,
        "of": test.shadow.of,
        "contract_id": test.row.contract_id,
        "baselines": baselines_json(queries.baselines(client, test.model)),
        "basis": test.basis,
        "decision_rules": DECISION_RULES,
        "offsets": {topic: _ranges_json(own) for topic, own in ranges.items()},
        "since": since_s,
        "until": evaluation.newest_end_s,
        "matured_until": evaluation.matured_s,
        "code": _code_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES}
        | {"clickhouse": server_version(client), "python": platform.python_version()},
    }
    return {
        DECISION: encode_json(evaluation.record()),
        DAYS: encode_json(evaluation.slices),
        CONTRACT: test.row.yaml.encode(),
        PROVENANCE: encode_json(provenance),
    }


def baselines_json(rows: Sequence[BaselineRow]) -> list[dict[str, str]]:
    return [
        {"version": row.version, "baseline_id": row.baseline_id, "effective_from": row.effective_from.isoformat()}
        for row in rows
    ]


def scope_of(provenance: Mapping[str, Any]) -> Scope:
    """Read the scope from the part `provenance.json`, as `make_parts` writes it."""
    topics: tuple[Topic, ...] = ("predictions", "labels", "shadow_predictions")
    offsets = {
        topic: {EpochPartition(each["epoch"], each["partition"]): each["last"] for each in provenance["offsets"][topic]}
        for topic in topics
    }
    return Scope(offsets, provenance["since"], provenance["until"], provenance["matured_until"])


def _code_version() -> dict[str, str]:
    """Return the release, and SHA-256 of the sources that compute a decision."""
    digest = hashlib.sha256()
    for package in (sketches, warehouse, rollouts):
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(f"{folder.name}/{path.relative_to(folder).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return {"release": importlib.metadata.version("barograph-server"), "sources_sha256": digest.hexdigest()}


def _ranges_json(ranges: Mapping[EpochPartition, tuple[int, int]]) -> list[dict[str, int]]:
    return [
        {"epoch": key.epoch, "partition": key.partition, "first": first, "last": last}
        for key, (first, last) in sorted(ranges.items())
    ]
