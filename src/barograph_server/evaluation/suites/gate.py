"""The gate: a candidate's run of each suite, compared with the run that was accepted last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from barograph.contract.kinds import IntegerKind, Key, MapKind, RecordKind
from barograph.contract.problems import ContractError, Problem
from barograph.contract.sections import PositiveShare, SectionKind, Share
from barograph.contract.yaml_nodes import MappingNode
from barograph.contract.yaml_tree import read_tree

from barograph_server.contracts import read_policy_text
from barograph_server.errors import CommandError
from barograph_server.sketches.comparison.paired_items import (
    PairedDifference,
    SuiteOutcome,
    judge_difference,
    least_items_to_accept,
    paired_difference,
)
from barograph_server.terminal import plural
from barograph_server.warehouse.client import Client
from barograph_server.warehouse.configuration import read_value
from barograph_server.warehouse.evaluation.eval_runs import StoredRun, accepted_runs, read_means, read_runs

MAX_ITEMS = 1_000_000


class SuiteRules(msgspec.Struct, frozen=True):
    """What a candidate must fulfil in one suite."""

    margin: Annotated[PositiveShare, "How much lower its mean score may be.", "0.1"]
    items: Annotated[int, IntegerKind(1, MAX_ITEMS), "The fewest items that both runs have.", "50"]
    missing: Annotated[
        Share, "The largest share of the accepted run's items, and of the candidate's answers, without a score of it."
    ] = 0.0


_SUITES = "suites"
_POLICY = RecordKind(
    (Key(_SUITES, MapKind(SectionKind(SuiteRules)), "The rules of each suite.", "a suite", required=True),)
)


def load_gate_policy(path: Path) -> dict[str, SuiteRules]:
    """Read a policy: the rules of each suite, at least one.

    Raises:
        ContractError: the text is not a valid policy; it lists every problem with its line.
    """
    tree = read_tree(read_policy_text(path), str(path))
    if not isinstance(tree, MappingNode):
        raise ContractError(
            [Problem(str(path), 1, "this is not a policy; write suites: {NAME: {margin: 0.1, items: 50}}")]
        )
    policy: dict[str, SuiteRules] = read_value(_POLICY, tree, (), str(path))[_SUITES]
    if not policy:
        raise ContractError([Problem(str(path), 1, "names no suite; write suites: {NAME: {margin: 0.1, items: 50}}")])
    problems = [
        Problem(str(path), line, f"suites.{name}.items: {problem}")
        for name, line in _lines(tree).items()
        if (problem := _too_few_items(policy[name]))
    ]
    if problems:
        raise ContractError(problems)
    return policy


def _lines(tree: MappingNode) -> dict[str, int]:
    """Return the line of each suite of a policy whose keys and values are valid."""
    suites = next(node for key, node in tree.pairs if key.text == _SUITES)
    return {key.text: key.line for key, _ in suites.pairs} if isinstance(suites, MappingNode) else {}


def _too_few_items(rules: SuiteRules) -> str:
    """Name what is wrong if not even a candidate that equals the accepted run could be accepted; empty if it could."""
    least = least_items_to_accept(rules.margin, MAX_ITEMS)
    if least is None:
        return f"no number of items up to {MAX_ITEMS:,} is enough for the margin {rules.margin:g}; raise the margin"
    if rules.items >= least:
        return ""
    return (
        f"{rules.items} is too few for the margin {rules.margin:g}: a candidate that equals the accepted run in all "
        f"items would not be accepted; write {least} or more, or raise the margin"
    )


SHOWN_ITEMS = 10


@dataclass(frozen=True, slots=True)
class SuiteComparison:
    """The candidate in one suite."""

    suite: str
    rules: SuiteRules
    candidate: StoredRun | None
    accepted: StoredRun | None
    difference: PairedDifference | None
    """None if the two cannot be compared."""
    only_accepted: tuple[str, ...]
    """Items without a score in the candidate's run."""
    only_candidate: tuple[str, ...]
    outcome: SuiteOutcome
    obstacle: str = ""
    """Why no interval decides, as a clause; empty if it does."""
    is_first: bool = False
    """Whether this run can be accepted without a comparison: none was accepted before, or the suite changed since."""


@dataclass(frozen=True, slots=True)
class GateDecision:
    model: str
    candidate: str
    suites: tuple[SuiteComparison, ...]
    is_accepted: bool = False
    """Whether later candidates are compared with this one from now on."""

    @property
    def outcome(self) -> SuiteOutcome:
        """`hold` if one suite says so; `accept` only if all do."""
        outcomes = {each.outcome for each in self.suites}
        if SuiteOutcome.HOLD in outcomes:
            return SuiteOutcome.HOLD
        return SuiteOutcome.ACCEPT if outcomes == {SuiteOutcome.ACCEPT} else SuiteOutcome.INSUFFICIENT

    @property
    def new_runs(self) -> tuple[tuple[StoredRun, str], ...]:
        """The candidate's runs that are not the accepted ones already, each with the evidence."""
        return tuple(
            (each.candidate, evidence_text(each))
            for each in self.suites
            if each.candidate is not None and each.candidate != each.accepted
        )

    @property
    def can_begin(self) -> bool:
        """Whether the candidate starts the series of some suite, and all others accept it."""
        return any(each.is_first for each in self.suites) and all(
            each.is_first or each.outcome is SuiteOutcome.ACCEPT for each in self.suites
        )


def decide_gate(
    client: Client, model: str, candidates: Sequence[str], policy: Mapping[str, SuiteRules]
) -> GateDecision:
    """Compare a candidate's newest run of each suite of a policy with the run that was accepted last.

    Args:
        candidates: a prompt (`answer@8`), a served model, or run ids of several suites.
    """
    runs = read_runs(client, model)
    matching = list[StoredRun]()
    for candidate in candidates:
        matches = [run for run in runs if candidate in (run.prompt, run.version, run.run_id)]
        if not matches:
            known = sorted({run.prompt or run.version for run in runs})
            there = (
                f"there are runs of {', '.join(known)}"
                if known
                else "there is no run; `barograph eval import` adds one"
            )
            raise CommandError(f"No run of {model} has the prompt, version or run id {candidate}: {there}.")
        matching += [run for run in matches if run not in matching]
    accepted = accepted_runs(client, model)
    by_id = {run.run_id: run for run in runs}
    suites = []
    for suite, rules in policy.items():
        run_id = accepted.get(suite)
        if run_id is not None and run_id not in by_id:
            raise CommandError(
                f"The accepted run {run_id} of {suite} is not in the table eval_runs: import its log again with "
                f"`barograph eval import FILE --model {model}`."
            )
        newest = _newest_run([run for run in matching if run.suite == suite], candidates)
        suites.append(_compare(client, suite, rules, newest, None if run_id is None else by_id[run_id]))
    return GateDecision(model, ", ".join(candidates), tuple(suites))


def _newest_run(runs: Sequence[StoredRun], candidates: Sequence[str]) -> StoredRun | None:
    """Return the run of one suite that started last; None without runs."""
    runs = [run for run in runs if run.run_id in candidates] or sorted(runs, key=lambda run: run.started_at)
    if not runs:
        return None
    last = [run for run in runs if run.started_at == runs[-1].started_at]
    versions = {(run.prompt, run.version) for run in runs}
    if len(versions) == 1 and len(last) == 1:
        return last[0]
    listed = [run for run in runs if run in last or len(versions) > 1][-SHOWN_ITEMS:]
    names = ", ".join(f"{run.run_id} ({run.prompt or 'no prompt'}, {run.version})" for run in listed)
    reason = "are of several versions" if len(versions) > 1 else "started at the same time"
    raise CommandError(
        f"Runs of {runs[0].suite} that match {', '.join(candidates)} {reason}: name one of each suite by its id, with "
        f"--candidate ID: {names}."
    )


def _compare(
    client: Client, suite: str, rules: SuiteRules, candidate: StoredRun | None, accepted: StoredRun | None
) -> SuiteComparison:
    def undecided(obstacle: str, *, is_first: bool = False) -> SuiteComparison:
        outcome = SuiteOutcome.INSUFFICIENT
        return SuiteComparison(suite, rules, candidate, accepted, None, (), (), outcome, obstacle, is_first)

    if candidate is None:
        return undecided("the candidate has no run of this suite: run it, and import its log")
    if accepted is not None and candidate.run_id == accepted.run_id:
        text = f"the run {candidate.run_id} is the accepted run already"
        return SuiteComparison(suite, rules, candidate, accepted, None, (), (), SuiteOutcome.ACCEPT, text)
    unscored = _unscored_excess(candidate, rules)
    # A first run has no other to be compared with: only the rules decide.
    shortfall = f"{candidate.items} of {rules.items} items" if candidate.items < rules.items else unscored
    if accepted is None:
        if shortfall:
            return undecided(f"no run was accepted yet, and this one has {shortfall}")
        return undecided("no run was accepted yet: --accept accepts this one as the first", is_first=True)
    changes = [
        (what, old, new)
        for what, old, new in (
            ("suite version", accepted.suite_version, candidate.suite_version),
            ("scorer", accepted.scorer, candidate.scorer),
            ("format", accepted.format, candidate.format),
        )
        if old != new
    ]
    if changes:
        difference_text = " and ".join(f"the {what} {old}, the candidate {new}" for what, old, new in changes)
        text = f"the accepted run has {difference_text}"
        if accepted.prompt != candidate.prompt or not _is_same_model(accepted, candidate):
            return undecided(
                f"{text}: run the same suite on the accepted {accepted.prompt or accepted.version} "
                f"({accepted.version}) too, and accept that run"
            )
        if shortfall:
            return undecided(f"{text}, which has {shortfall}")
        return undecided(
            f"{text}; both are of {accepted.prompt or accepted.version}: --accept accepts this run as the first "
            "since the change",
            is_first=True,
        )
    old_means, new_means = read_means(client, accepted.run_id), read_means(client, candidate.run_id)
    common = sorted(old_means.keys() & new_means.keys())
    difference = paired_difference([old_means[item] for item in common], [new_means[item] for item in common])
    only_accepted = tuple(sorted(old_means.keys() - new_means.keys()))
    only_candidate = tuple(sorted(new_means.keys() - old_means.keys()))
    outcome, obstacle = judge_difference(difference, rules.margin, rules.items), ""
    if difference.items < rules.items:
        obstacle = f"both runs have {difference.items} of {rules.items} items"
    elif outcome is SuiteOutcome.ACCEPT and len(only_accepted) > rules.missing * len(old_means):
        outcome = SuiteOutcome.INSUFFICIENT
        obstacle = (
            f"the candidate has no score of {plural(len(only_accepted), 'item')} of the accepted run; the policy "
            f"allows a share of {rules.missing:.4g} of {len(old_means)}"
        )
    elif outcome is SuiteOutcome.ACCEPT and unscored:
        outcome, obstacle = SuiteOutcome.INSUFFICIENT, f"the candidate has {unscored}"
    return SuiteComparison(
        suite, rules, candidate, accepted, difference, only_accepted, only_candidate, outcome, obstacle
    )


def _is_same_model(a: StoredRun, b: StoredRun) -> bool:
    """Whether two runs are of one served model; programs may put the provider before it, as in `openai:chat:NAME`."""
    short, long = sorted((a.version, b.version), key=len)
    return short == long or (a.format != b.format and bool(short) and long.endswith((f":{short}", f"/{short}")))


def _unscored_excess(run: StoredRun, rules: SuiteRules) -> str:
    """Name the answers without a score if they are more than the policy allows; empty otherwise."""
    answers = run.samples + run.unscored
    if run.unscored <= rules.missing * answers:
        return ""
    return (
        f"no score for {run.unscored:,} of {plural(answers, 'answer')}; the policy allows a share of "
        f"{rules.missing:.4g} (`missing`): repeat the failed calls, and import the new run"
    )


def evidence_text(comparison: SuiteComparison) -> str:
    """State the evidence for an acceptance in one sentence."""
    difference = comparison.difference
    if comparison.accepted is None:
        return "the first accepted run"
    if difference is None:
        return f"the first accepted run since the suite changed; follows {comparison.accepted.run_id}"
    return (
        f"{100 * difference.value:+.2f} points [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}] on "
        f"{difference.items} items compared with {comparison.accepted.run_id}; margin {100 * comparison.rules.margin:g}"
    )
