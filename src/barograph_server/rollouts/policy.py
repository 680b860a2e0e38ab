"""Policies: what a promotion needs beyond the decision, as a YAML file that a whole organization can share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from barograph.contract.check import SHADOW_CRITERIA, UNLABELLED_CRITERIA
from barograph.contract.kinds import (
    Diagnostics,
    FlagKind,
    IntegerKind,
    Key,
    MapKind,
    NumberKind,
    RecordKind,
    Unreadable,
    nearest,
)
from barograph.contract.kinds import Path as KeyPath
from barograph.contract.problems import ContractError, Problem
from barograph.contract.yaml_nodes import MappingNode, Node
from barograph.contract.yaml_tree import read_tree

from barograph_server.policy_file import read_policy_text
from barograph_server.sketches.rollout.criteria import missing_answers
from barograph_server.sketches.rollout.decision import ShadowDecision
from barograph_server.sketches.rollout.shadow_days import ShadowDays
from barograph_server.terminal import percentage, plural

CRITERIA = tuple(dict.fromkeys([*(name for names in SHADOW_CRITERIA.values() for name in names), *UNLABELLED_CRITERIA]))
"""Criteria that a contract, and so a policy, can name."""


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """What a promotion needs beyond the decision."""

    days: int = 0
    """Smallest number of days of each criterion."""
    margins: dict[str, float] = field(default_factory=dict)
    """Required criteria, each with the largest margin that a contract may state."""
    missing_share: float = 1.0
    """Largest share of requests without an answer of the candidate."""
    forbids_harmed_slices: bool = False
    """Whether evidence that some slice is harmed, named or not, prevents a promotion."""


@dataclass(frozen=True, slots=True)
class UnmetRequirement:
    """A requirement of the policy that is not met."""

    text: str
    """What is required and what there is."""
    may_pass_later: bool
    """Whether more days can meet it."""


class _NoDrills:
    """Rejects the key for drills, which do not exist yet, instead of ignoring a requirement."""

    def read(self, node: Node, path: KeyPath, diagnostics: Diagnostics) -> None:
        raise Unreadable("this release has no drills, so none can be required; remove the key")


POLICY = RecordKind(
    (
        Key("days", IntegerKind(1, 3650), "The smallest number of days of each criterion."),
        Key(
            "criteria",
            MapKind(NumberKind(0.0, above=True)),
            "Required criteria, each with the largest margin that the contract may state.",
        ),
        Key(
            "missing_share",
            NumberKind(0.0, 1.0),
            "The largest share of requests without an answer of the candidate, those outside the sample not counted.",
        ),
        Key("forbid_harmed_slices", FlagKind(), "Whether evidence of harm in some slice prevents a promotion."),
        Key("drills", _NoDrills(), "Reserved."),
    )
)
"""The keys of a policy file; all are optional."""


def load_policy(path: Path) -> PromotionPolicy:
    """Read a policy file.

    Raises:
        CommandError: the file cannot be read.
        ContractError: the text is not a valid policy; it lists every problem with its line.
    """
    return parse_policy(read_policy_text(path), str(path))


def parse_policy(text: str | bytes, name: str = "policy.yaml") -> PromotionPolicy:
    """Parse the text of a policy; `name` is that of its file. Errors are those of `load_policy`."""
    tree = read_tree(text, name)
    if not isinstance(tree, MappingNode):
        raise ContractError([Problem(name, 1, "this is not a policy; write keys such as days: 28")])
    diagnostics = Diagnostics(name)
    values = POLICY.read(tree, (), diagnostics)
    for criterion in values.get("criteria", {}):
        if criterion not in CRITERIA:
            path: KeyPath = ("criteria", criterion)
            diagnostics.note(path, diagnostics.lines[path], f"is not a criterion; {nearest(criterion, CRITERIA)}")
    if diagnostics.problems:
        raise ContractError(sorted(diagnostics.problems, key=lambda problem: problem.line))
    return PromotionPolicy(
        days=values.get("days", 0),
        margins=values.get("criteria", {}),
        missing_share=values.get("missing_share", 1.0),
        forbids_harmed_slices=values.get("forbid_harmed_slices", False),
    )


def unmet_requirements(
    policy: PromotionPolicy,
    margins: dict[str, float],
    whole: ShadowDays,
    decision: ShadowDecision,
    version: str = "the candidate",
) -> list[UnmetRequirement]:
    """Return the requirements of a policy that a candidate does not meet.

    Args:
        policy: the policy.
        margins: the margins of the contract, by criterion.
        whole: the daily sums of the slice `all`; for a canary, with the sides exchanged.
        decision: the decision.
        version: the name of the version that it is about.
    """
    unmet = []
    for name, largest in policy.margins.items():
        if name not in margins:
            text = f"The policy requires the criterion {name}: add it to `shadow.margins` of the contract."
            unmet.append(UnmetRequirement(text, may_pass_later=False))
        elif margins[name] > largest:
            text = f"The policy allows {name} a margin of at most {largest:g}; the contract states {margins[name]:g}."
            unmet.append(UnmetRequirement(text, may_pass_later=False))
    for verdict in decision.criteria:
        if verdict.days < policy.days:
            text = f"The policy requires {plural(policy.days, 'day')}; {verdict.criterion.name} has {verdict.days}."
            unmet.append(UnmetRequirement(text, may_pass_later=True))
    failures, requests = missing_answers(whole)
    share = float(-failures.sum() / requests.sum()) if requests.sum() else 0.0
    if share > policy.missing_share:
        text = (
            f"The policy allows at most {percentage(policy.missing_share, 2)} of the requests without an answer of "
            f"{version}; {percentage(share, 2)} have none."
        )
        unmet.append(UnmetRequirement(text, may_pass_later=policy.missing_share > 0))
    if policy.forbids_harmed_slices and (decision.harmed_slices or decision.some_slice_harmed):
        text = f"The policy forbids harm in slices; there is evidence that {version} is worse in some slice."
        unmet.append(UnmetRequirement(text, may_pass_later=False))
    return unmet
