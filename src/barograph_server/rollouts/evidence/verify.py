"""Verification of an evidence bundle: its digests, and everything in it that the warehouse can compute again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import msgspec

from barograph_server.errors import CommandError
from barograph_server.rollouts.candidate import CandidateEvaluation, CandidateTest, make_test
from barograph_server.rollouts.evidence.bundle import (
    CONTRACT,
    DAYS,
    DECISION,
    PROVENANCE,
    BundleError,
    EvidenceBundle,
    encode_json,
    read_bundle,
)
from barograph_server.rollouts.evidence.parts import baselines_json, evaluate_as_of, scope_of
from barograph_server.sketches.rollout.decision import DECISION_RULES
from barograph_server.terminal import Terminal, plural
from barograph_server.warehouse import queries
from barograph_server.warehouse.client import Client

MAX_LISTED = 20
"""Differences that the text output lists."""
_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Seconds = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class _OffsetRange(msgspec.Struct):
    """The range of offsets of a partition in `provenance.json`."""

    epoch: _Number
    partition: _Number
    first: _Number
    last: _Number


class _Offsets(msgspec.Struct):
    """The ranges of offsets by topic in `provenance.json`."""

    predictions: list[_OffsetRange]
    labels: list[_OffsetRange]
    shadow_predictions: list[_OffsetRange]


class _Baseline(msgspec.Struct):
    """A baseline in `provenance.json`."""

    version: str
    baseline_id: str
    effective_from: str


class _Provenance(msgspec.Struct):
    """The keys of `provenance.json` that a verification needs."""

    model: str
    contract_id: str
    baselines: list[_Baseline]
    offsets: _Offsets
    since: _Seconds
    until: _Seconds
    matured_until: _Seconds
    decision_rules: _Number = 1


class _Slice(msgspec.Struct):
    """The keys of a slice in `days.json` that a verification needs."""

    slice: str
    days: list[str]


@dataclass(frozen=True, slots=True)
class Verification:
    bundle: EvidenceBundle
    evaluation: CandidateEvaluation | None
    """The decision, computed again; None if it cannot be."""
    differences: tuple[str, ...]
    """What differs between the bundle and the warehouse: part, day, slice, column."""
    obstacles: tuple[str, ...] = ()
    """Why parts of the bundle cannot be computed again."""
    recounted_windows: int = 0
    """Score windows that changed since and were counted again from raw rows."""

    @property
    def is_equal(self) -> bool:
        """Whether everything was computed again and is equal to the bit."""
        return not self.differences and not self.obstacles

    def record(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {
            "digest": self.bundle.digest,
            "is_equal": self.is_equal,
            "differences": self.differences,
            "obstacles": self.obstacles,
            "recounted_windows": self.recounted_windows,
        }


def print_verification(terminal: Terminal, verification: Verification) -> None:
    terminal.line(f"digest {verification.bundle.digest}")
    if verification.recounted_windows:
        windows = plural(verification.recounted_windows, "score window")
        terminal.line(f"{windows} changed since the export and were counted again up to the bundle's offsets.")
    for text in verification.differences[:MAX_LISTED]:
        terminal.line(f"differs: {text}", "red")
    if len(verification.differences) > MAX_LISTED:
        terminal.line(f"… and {len(verification.differences) - MAX_LISTED} more, which --format json lists.", "red")
    for text in verification.obstacles:
        terminal.line(f"cannot be verified: {text}", "yellow")
    if verification.is_equal:
        terminal.line("equal to the bit", "green")


def verify_bundle(client: Client, path: Path, digest: str | None = None) -> Verification:
    """Check a bundle, and the digest of its manifest unless None is expected, and compute its content again."""
    bundle = read_bundle(path)
    if digest is not None and digest.lower() != bundle.digest:
        raise BundleError(f"{path} has the digest {bundle.digest}, not {digest}: it is another bundle, or was changed.")
    return verify(client, bundle)


def verify(client: Client, bundle: EvidenceBundle) -> Verification:
    """Compute the content of a bundle again from the warehouse, up to its offsets and its last day."""
    provenance, stored_days = bundle.json(PROVENANCE), bundle.json(DAYS)
    shapes: tuple[tuple[str, Any, Any], ...] = (
        (PROVENANCE, provenance, _Provenance),
        (DAYS, stored_days, list[_Slice]),
    )
    for name, content, shape in shapes:
        try:
            msgspec.convert(content, shape)
        except msgspec.ValidationError as error:
            raise BundleError(f"The part {name} is not complete ({error}): export the bundle again.") from None
    scope, model, contract_id = scope_of(provenance), provenance["model"], provenance["contract_id"]
    history = queries.contract_history(client, model)
    positions = [i for i, row in enumerate(history) if row.contract_id == contract_id]
    if not positions:
        obstacle = f"The contract {contract_id} of {model} is not in this warehouse: name the one of the bundle."
        return Verification(bundle, None, (), (obstacle,))
    row, earlier = history[positions[-1]], history[: positions[-1]]
    differences = [] if row.yaml.encode() == bundle.parts[CONTRACT] else [f"{CONTRACT}: another text was applied"]
    try:
        test = make_test(row, earlier)
        evaluation, recounted = evaluate_as_of(client, test, scope)
    except CommandError as error:
        return Verification(bundle, None, tuple(differences), (str(error),))
    differences += _provenance_differences(client, provenance, test)
    current_days = json.loads(encode_json(evaluation.slices))
    day_differences = list(_day_differences(stored_days, current_days))
    obstacles = []
    if day_differences and all(day in recounted.expired_days for day, _ in day_differences):
        days = ", ".join(recounted.expired_days)
        obstacles.append(f"{DAYS}: rows of {days} arrived later, or settings changed, and their raw rows are deleted")
        day_differences = []
    differences += [text for _, text in day_differences]
    if (rules := provenance.get("decision_rules", 1)) != DECISION_RULES:
        text = f"{DECISION}: the decision rules {rules} made it, not {DECISION_RULES}: use the release that wrote it"
        obstacles.append(text)
    if not obstacles:
        current = json.loads(encode_json(evaluation.record()))
        differences += [
            f"{DECISION}: {'.'.join(map(str, path))}: bundle {one!r}, warehouse {two!r}"
            for path, one, two in _leaves(bundle.json(DECISION), current, ())
        ]
    return Verification(bundle, evaluation, tuple(differences), tuple(obstacles), recounted.windows)


def _provenance_differences(client: Client, provenance: Mapping[str, Any], test: CandidateTest) -> Iterator[str]:
    for key, value in (("candidate", test.shadow.candidate), ("of", test.shadow.of), ("basis", test.basis)):
        if provenance.get(key) != value:
            yield f"{PROVENANCE}: {key}: bundle {provenance.get(key)!r}, warehouse {value!r}"
    rows = queries.baselines(client, test.model)
    current, stored = baselines_json(rows), provenance["baselines"]
    for each in stored:
        if each not in current:
            text = f"{each['baseline_id']} of version {each['version']} from {each['effective_from']}"
            yield f"{PROVENANCE}: the baseline {text} is not in the warehouse"
    # Baselines that were accepted after the export are not listed.
    newest = max((row.accepted_at for row, each in zip(rows, current, strict=True) if each in stored), default=None)
    for row, each in zip(rows, current, strict=True):
        if each not in stored and newest is not None and row.accepted_at < newest:
            yield f"{PROVENANCE}: the baseline {row.baseline_id} of version {row.version} is missing"


def _day_differences(
    stored: Sequence[Mapping[str, Any]], current: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    """Yield (day, text) of each value that differs; the day is empty if a difference concerns no single day."""
    bundle = {str(each["slice"]): each for each in stored}
    warehouse = {str(each["slice"]): each for each in current}
    for name in sorted(bundle.keys() | warehouse.keys()):
        if name not in bundle or name not in warehouse:
            where = "bundle" if name in bundle else "warehouse"
            days = (bundle.get(name) or warehouse[name])["days"]
            yield (days[0] if len(days) == 1 else ""), f"{DAYS}: slice {name}: only in the {where}"
            continue
        own, other = bundle[name], warehouse[name]
        if own["days"] != other["days"]:
            for day in sorted(set(own["days"]) ^ set(other["days"])):
                where = "bundle" if day in own["days"] else "warehouse"
                yield day, f"{DAYS}: slice {name}, {day}: only in the {where}"
            if sorted(own["days"]) != own["days"] or len(set(own["days"])) < len(own["days"]):
                yield "", f"{DAYS}: slice {name}: its days are not in order"
            continue
        for path, one, two in _leaves(own, other, ()):
            # A list that is longer than the days has values of no day.
            day = next((own["days"][step] for step in path if isinstance(step, int) and step < len(own["days"])), "")
            column = ".".join(str(step) for step in path if not isinstance(step, int))
            yield day, f"{DAYS}: slice {name}, {day}, {column}: bundle {one!r}, warehouse {two!r}"


def _leaves(one: Any, two: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """Yield the path and both values wherever two JSON values differ."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in sorted(one.keys() | two.keys()):
            yield from _leaves(one.get(key), two.get(key), (*path, key))
    elif isinstance(one, list) and isinstance(two, list):
        for i, (first, second) in enumerate(zip_longest(one, two)):
            yield from _leaves(first, second, (*path, i))
    elif type(one) is not type(two) or one != two:
        yield path, one, two
