"""Policies: what a promotion needs beyond the decision, as a YAML file that a whole organization can share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from barograph.contract.check import SHADOW_CRITERIA, UNLABELLED_CRITERIA
from barograph.contract.kinds import Diagnostics, IntegerKind, Unreadable, nearest
from barograph.contract.kinds import Path as KeyPath
from barograph.contract.problems import ContractError, Problem
from barograph.contract.sections import At, Positive, SectionKind, Share
from barograph.contract.yaml_nodes import MappingNode, Node
from barograph.contract.yaml_tree import read_tree

from barograph_server.contracts import read_policy_text
from barograph_server.sketches.rollout.criteria import missing_answers
from barograph_server.sketches.rollout.decision import ShadowDecision
from barograph_server.sketches.rollout.shadow_days import ShadowDays
from barograph_server.terminal import percentage, plural

CRITERIA = tuple(dict.fromkeys([*(name for names in SHADOW_CRITERIA.values() for name in names), *UNLABELLED_CRITERIA]))
"""Criteria that a contract, and so a policy, can name."""


class _NoDrills:
    """Rejects the key for drills, which do not exist yet, instead of ignoring a requirement."""

    def read(self, node: Node, path: KeyPath, diagnostics: Diagnostics) -> None:
        raise Unreadable("this release has no drills, so none can be required; remove the key")


class PromotionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a promotion needs beyond the decision: the keys of a policy file, all optional."""

    days: Annotated[int, IntegerKind(1, 3650), "The smallest number of days of each criterion."] = 0
    margins: Annotated[
        dict[str, Positive],
        At("criteria"),
        "Required criteria, each with the largest margin that the contract may state.",
    ] = {}
    missing_share: Annotated[
        Share, "The largest share of requests without an answer of the candidate, those outside the sample not counted."
    ] = 1.0
    forbids_harmed_slices: Annotated[
        bool, At("forbid_harmed_slices"), "Whether evidence of harm in some slice, named or not, prevents a promotion."
    ] = False
    drills: Annotated[None, _NoDrills(), "Reserved."] = None


@dataclass(frozen=True, slots=True)
class UnmetRequirement:
    text: str
    """What is required and what there is."""
    may_pass_later: bool
    """Whether more days can meet it."""


def load_policy(path: Path) -> PromotionPolicy:
    """Read a policy file.

    Raises:
        ContractError: the text is not a valid policy; it lists every problem with its line.
    """
    return parse_policy(read_policy_text(path), str(path))


def parse_policy(text: str | bytes, name: str = "policy.yaml") -> PromotionPolicy:
    """Parse the text of a policy; `name` is that of its file. Errors are those of `load_policy`."""
    tree = read_tree(text, name)
    if not isinstance(tree, MappingNode):
        raise ContractError([Problem(name, 1, "this is not a policy; write keys such as days: 28")])
    diagnostics = Diagnostics(name)
    policy: PromotionPolicy = SectionKind(PromotionPolicy).read(tree, (), diagnostics)
    for criterion in policy.margins:
        if criterion not in CRITERIA:
            path: KeyPath = ("criteria", criterion)
            diagnostics.note(path, diagnostics.lines[path], f"is not a criterion; {nearest(criterion, CRITERIA)}")
    if diagnostics.problems:
        raise ContractError(sorted(diagnostics.problems, key=lambda problem: problem.line))
    return policy


def unmet_requirements(
    policy: PromotionPolicy,
    margins: dict[str, float],
    whole: ShadowDays,
    decision: ShadowDecision,
    version: str = "the candidate",
) -> list[UnmetRequirement]:
    """Return the requirements of a policy that a candidate does not meet.

    Args:
        margins: the margins of the contract, by criterion.
        whole: the daily sums of the slice `all`; after a promotion, with the sides exchanged.
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
