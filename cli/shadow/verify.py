"""Verification of an evidence bundle: its digests, and everything in it that the warehouse can compute again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from cli.errors import CommandError
from cli.promote.show import decision_json
from cli.shadow.bundle import CONTRACT, DAYS, DECISION, PROVENANCE, REPORT, BundleError, EvidenceBundle, read_bundle
from cli.shadow.evaluation import CandidateEvaluation, CandidateTest, make_test
from cli.shadow.evidence import code_version, days_json, evaluate_as_of, library_versions, scope_of
from cli.shadow.report import render_report
from warehouse import queries
from warehouse.client import Client

MAX_LISTED = 20
"""Differences that the text output lists."""


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification."""

    bundle: EvidenceBundle
    evaluation: CandidateEvaluation | None
    """The decision, computed again; None if it cannot be."""
    differences: tuple[str, ...]
    """What differs between the bundle and the warehouse: part, day, slice, column."""
    obstacles: tuple[str, ...] = ()
    """Why parts of the bundle cannot be computed again."""
    recounted_windows: int = 0
    """Score windows that changed since and were counted again from raw rows."""
    notes: tuple[str, ...] = ()

    @property
    def is_equal(self) -> bool:
        """Whether everything was computed again and is equal to the bit."""
        return not self.differences and not self.obstacles


def verify_bundle(client: Client, path: Path, digest: str | None = None) -> Verification:
    """Check a bundle and compute its content again.

    Args:
        client: the connection to read from.
        path: the bundle.
        digest: the expected digest of its manifest; None to accept any.

    Raises:
        BundleError: the bundle is damaged, was changed or is another one than expected.
        CommandError: it cannot be read.
    """
    bundle = read_bundle(path)
    if digest is not None and digest.lower() != bundle.digest:
        raise BundleError(f"{path} has the digest {bundle.digest}, not {digest}: it is another bundle, or was changed.")
    return verify(client, bundle)


def verify(client: Client, bundle: EvidenceBundle) -> Verification:
    """Compute the content of a bundle again from the warehouse, up to its offsets and its last day."""
    provenance = bundle.json(PROVENANCE)
    try:
        scope = scope_of(provenance)
        model, contract_id = str(provenance["model"]), str(provenance["contract_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"The part {PROVENANCE} is not complete ({error}): export the bundle again.") from None
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
    stored_days, current_days = bundle.json(DAYS), [days_json(each) for each in evaluation.slices]
    day_differences = list(_day_differences(stored_days, current_days))
    obstacles = []
    if day_differences and _only_in(day_differences, recounted.expired_days):
        days = ", ".join(recounted.expired_days)
        obstacles.append(f"{DAYS}: rows of {days} arrived after the export, and the raw rows of these days are deleted")
        day_differences = []
    differences += [text for _, text in day_differences]
    notes = []
    if not obstacles:
        differences += _value_differences(DECISION, bundle.json(DECISION), decision_json(evaluation))
        if (
            provenance.get("code") != code_version()
            or not library_versions().items() <= provenance["libraries"].items()
        ):
            notes.append(f"{REPORT} was not compared: other code or libraries wrote it.")
        elif not differences and render_report(evaluation).encode() != bundle.parts[REPORT]:
            differences.append(f"{REPORT}: the page differs")
    return Verification(bundle, evaluation, tuple(differences), tuple(obstacles), recounted.windows, tuple(notes))


def _provenance_differences(client: Client, provenance: Mapping[str, Any], test: CandidateTest) -> Iterator[str]:
    for key, value in (("candidate", test.shadow.candidate), ("of", test.shadow.of), ("basis", test.basis)):
        if provenance.get(key) != value:
            yield f"{PROVENANCE}: {key}: bundle {provenance.get(key)!r}, warehouse {value!r}"
    known = {(row.version, row.baseline_id) for row in queries.baselines(client, test.model)}
    for each in provenance.get("baselines", ()):
        if (each.get("version"), each.get("baseline_id")) not in known:
            yield f"{PROVENANCE}: the baseline {each.get('baseline_id')} is not in the warehouse"


def _day_differences(stored: Any, current: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (day, text) of each value that differs; the day is empty if a difference concerns no single day."""
    try:
        bundle = {str(each["slice"]): each for each in stored}
    except (KeyError, TypeError):
        yield "", f"{DAYS}: it is not a list of slices"
        return
    warehouse = {str(each["slice"]): each for each in current}
    for name in sorted(bundle.keys() | warehouse.keys()):
        if name not in bundle or name not in warehouse:
            where = "bundle" if name in bundle else "warehouse"
            days = (bundle.get(name) or warehouse[name])["days"]
            yield (days[0] if len(days) == 1 else ""), f"{DAYS}: slice {name}: only in the {where}"
            continue
        own, other = bundle[name], warehouse[name]
        if own.get("days") != other["days"]:
            for day in sorted(set(own.get("days", ())) ^ set(other["days"])):
                where = "bundle" if day in own.get("days", ()) else "warehouse"
                yield day, f"{DAYS}: slice {name}, {day}: only in the {where}"
            continue
        for path, one, two in _leaves(own, other, ()):
            day = next((own["days"][step] for step in path if isinstance(step, int)), "")
            column = ".".join(str(step) for step in path if not isinstance(step, int))
            yield day, f"{DAYS}: slice {name}, {day}, {column}: bundle {one!r}, warehouse {two!r}"


def _value_differences(part: str, stored: Any, current: Any) -> list[str]:
    return [
        f"{part}: {'.'.join(map(str, path))}: bundle {one!r}, warehouse {two!r}"
        for path, one, two in _leaves(stored, current, ())
    ]


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


def _only_in(differences: Sequence[tuple[str, str]], days: Sequence[str]) -> bool:
    return all(day in days for day, _ in differences)
