"""A proposal moves a label at most once, and never after a later decision of a person."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.file import parse_content

from streams.prompts.changes import Author, Draft, move_label, register_version, roll_back
from streams.prompts.proposed_rollback import decide_rollback
from warehouse.rollback_proposals import RollbackProposal

AT_MS = 10_000_000
GUARD = Author("guard", AT_MS + 5_000)
PROPOSAL = RollbackProposal(
    model="m",
    prompt="answer",
    label="production",
    version=2,
    control="answer@1",
    arm="answer@2",
    target="previous",
    mode="act",
    at=datetime.fromtimestamp(AT_MS / 1000, UTC),
    reason="errors +2 points",
    proposed_at=datetime.fromtimestamp(AT_MS / 1000 + 60, UTC),
)


def registered(*labels: tuple[str, int, int]) -> PromptCatalogue:
    """Three versions, and labels that point to a version since a time (ms)."""
    catalogue = PromptCatalogue()
    for text in ("a", "b", "c"):
        draft = Draft(parse_content(f"name: answer\ntemplate: {text}\n"), "answer.yaml")
        catalogue.add(register_version(catalogue, draft, Author("ana", 1))[0])
    for label, version, at_ms in labels:
        change = move_label(catalogue, "answer", label, version, Author("ana", at_ms), "")
        assert change is not None
        catalogue.add(change)
    return catalogue


def test_a_proposal_moves_the_label_back_once() -> None:
    catalogue = registered(("production", 1, 1_000), ("production", 2, 2_000))
    decision = decide_rollback(catalogue, PROPOSAL, GUARD)
    change = decision.change
    assert change is not None
    assert (change.version, change.previous, change.is_rollback) == (1, 2, True)
    assert (change.changed_by, change.reason) == ("guard", "errors +2 points")
    assert decision.text == "answer:production 2 → 1: errors +2 points."
    catalogue.add(change)
    again = decide_rollback(catalogue, PROPOSAL, GUARD)
    assert (again.change, again.text) == (
        None,
        "The proposal to roll answer:production back changes nothing: answer:production points to version 1.",
    )


@pytest.mark.parametrize(("target", "version"), [("3", 3), ("stable", 1)])
def test_the_target_may_be_a_version_or_a_label(target: str, version: int) -> None:
    catalogue = registered(("stable", 1, 1_000), ("candidate", 2, 2_000))
    proposal = replace(PROPOSAL, label="candidate", target=target)
    change = decide_rollback(catalogue, proposal, GUARD).change
    assert change is not None
    assert (change.label, change.version) == ("candidate", version)


@pytest.mark.parametrize(
    ("labels", "changes", "problem"),
    [
        ((), {}, "answer has no label production"),
        ((), {"prompt": "other"}, "No prompt is called other; registered prompts: answer"),
        ((("production", 3, 1_000),), {}, "answer:production points to version 3"),
        (
            (("production", 1, 1_000), ("production", 2, AT_MS + 1)),
            {},
            "ana changed answer:production after the hours of the evidence",
        ),
        ((("production", 2, 1_000),), {}, "production of answer has pointed to version 2 only"),
        ((("production", 2, 1_000),), {"target": "stable"}, "answer has no label stable; its labels: production"),
        ((("production", 2, 1_000),), {"target": "9"}, "answer has no version 9; it has 1, 2, 3"),
        (
            (("production", 2, 1_000), ("stable", 2, 1_000)),
            {"target": "stable"},
            "answer:stable points to version 2 too",
        ),
    ],
)
def test_otherwise_nothing_changes_and_the_text_says_why(
    labels: tuple[tuple[str, int, int], ...], changes: dict[str, str], problem: str
) -> None:
    decision = decide_rollback(registered(*labels), replace(PROPOSAL, **changes), GUARD)  # type: ignore[arg-type]
    assert decision.change is None
    assert problem in decision.text


def test_a_label_that_was_rolled_back_to_the_version_has_no_previous_one() -> None:
    catalogue = registered(("production", 2, 1_000), ("production", 3, 2_000))
    back = roll_back(catalogue, "answer", "production", None, Author("ana", 3_000), "")
    assert back is not None
    catalogue.add(back)
    decision = decide_rollback(catalogue, PROPOSAL, GUARD)
    assert decision.change is None
    assert "came to version 2 by a rollback" in decision.text
    named = decide_rollback(catalogue, replace(PROPOSAL, target="1"), GUARD).change
    assert named is not None
    assert named.version == 1
