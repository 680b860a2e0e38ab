from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from barograph.prompts.catalogue import PromptCatalogue
from barograph.prompts.file import parse_content
from barograph.prompts.records import PromptLabel, PromptVersion, decode_prompt_record, encode_prompt_record

from barograph_server.streams.prompts import changes
from barograph_server.streams.prompts.changes import Author, Draft, PromptChangeError, register_version, roll_back
from barograph_server.streams.prompts.proposed_rollback import decide_rollback
from barograph_server.warehouse.rollouts.rollback_proposals import RollbackProposal

ANA = Author("ana", 1_000)


def draft(text: str, **changes: Any) -> Draft:
    return Draft(parse_content(f"name: answer\n{text}\n"), "answer.yaml", **changes)


def registered(*drafts: Draft) -> PromptCatalogue:
    catalogue = PromptCatalogue()
    changes.register_versions(catalogue, drafts, ANA)
    return catalogue


def moved(catalogue: PromptCatalogue, version: int, at_ms: int = 1_000, label: str = "production") -> PromptLabel:
    change = changes.move_label(catalogue, "answer", label, version, Author("ana", at_ms), "why")
    assert change is not None
    catalogue.add(change)
    return change


THREE = (draft("template: one"), draft("template: two"), draft("template: three"))


def test_versions_are_counted_and_a_content_has_one_version() -> None:
    catalogue = registered(*THREE)
    assert catalogue.versions("answer") == (1, 2, 3)
    record, is_new = register_version(catalogue, draft("template: 'one'"), Author("bo", 9))
    assert (record.version, record.registered_by, is_new) == (1, "ana", False)
    imported, is_new = register_version(catalogue, draft("template: ten", version=10, origin="mlflow"), ANA)
    assert (imported.version, imported.origin, is_new) == (10, "mlflow", True)
    catalogue.add(imported)
    assert register_version(catalogue, draft("template: next"), ANA)[0].version == 11
    with pytest.raises(PromptChangeError, match="answer@10 has another content in the registry"):
        register_version(catalogue, draft("template: other", version=10), ANA)
    # Contents of one command are versions of each other.
    catalogue = registered(draft("template: one"))
    drafts = (draft("template: two"), draft("template: 'one'"), draft("template: three\nparent: 2"))
    added, known = changes.register_versions(catalogue, drafts, Author("bo", 9))
    assert [(each.version, each.registered_by) for each in added] == [(2, "bo"), (3, "bo")]
    assert [(each.version, each.registered_by) for each in known] == [(1, "ana")]
    assert catalogue.versions("answer") == (1, 2, 3)


def test_a_parent_must_be_registered_and_versions_are_named_by_numbers_and_labels() -> None:
    assert register_version(registered(*THREE), draft("template: x\nparent: 3"), ANA)[0].content.parent == 3
    with pytest.raises(PromptChangeError, match="parent 4 is no version of answer; it has 1, 2, 3"):
        register_version(registered(*THREE), draft("template: x\nparent: 4"), ANA)
    catalogue = registered(*THREE)
    moved(catalogue, 2)
    assert [changes.find_version(catalogue, "answer", each).version for each in ("3", "production")] == [3, 2]
    with pytest.raises(PromptChangeError, match="answer has no label candidate; its labels: production"):
        changes.find_version(catalogue, "answer", "candidate")


def test_numbers_of_changes_grow_whatever_the_clocks_say() -> None:
    catalogue = registered(*THREE)
    sequences = [moved(catalogue, version, at_ms).sequence for version, at_ms in ((1, 1_000), (2, 500), (3, 5_000))]
    assert sequences == [1_000, 1_001, 5_000]
    assert changes.move_label(catalogue, "answer", "production", 3, ANA, "why") is None


def test_a_rollback_returns_to_the_version_before_once() -> None:
    catalogue = registered(*THREE)
    for version in (1, 2, 3):
        moved(catalogue, version)

    def back(to: int | None) -> Any:
        return roll_back(catalogue, "answer", "production", to, ANA, "")

    change = back(None)
    assert (change.version, change.previous, change.is_rollback) == (2, 3, True)
    catalogue.add(change)
    assert back(None) is None, "a repeated command changes nothing"
    further = back(1)
    assert (further.version, further.previous, back(2)) == (1, 2, None)
    moved(catalogue, 3)
    assert back(None).version == 2, "after a change by hand, a rollback is possible again"


def test_what_cannot_be_rolled_back_is_refused() -> None:
    catalogue = registered(*THREE)
    moved(catalogue, 1)
    for of, prompt, label, version, problem in (
        (catalogue, "answer", "production", None, "pointed to version 1 only: name the version with --to, of 1, 2"),
        (catalogue, "answer", "candidate", None, "no label candidate, so there is nothing to roll back; its labels: p"),
        (registered(*THREE), "answer", "production", None, "its labels: none"),
        (catalogue, "answer", "production", 9, "answer has no version 9"),
        (catalogue, "other", "production", None, "No prompt is called other; registered prompts: answer"),
    ):
        with pytest.raises(PromptChangeError, match=problem):
            roll_back(of, prompt, label, version, ANA, "")
    with pytest.raises(PromptChangeError, match="The label '7' looks like a version; write a word such as production"):
        changes.move_label(catalogue, "answer", "7", 1, ANA, "")


def test_variables_that_code_may_not_fit_are_named() -> None:
    catalogue = registered(
        draft("template: '{{q}} {{old}}'"),
        draft("template: '{{q}} {{new}} {{free}}'\nvariables: {q: {}, new: {}, free: {required: false}}"),
    )
    moved(catalogue, 1)
    assert changes.variable_warnings(catalogue, moved(catalogue, 2)) == [
        "version 2 has no variable old: code that passes it fails",
        "version 2 requires new: code that does not pass it fails",
    ]
    assert changes.variable_warnings(catalogue, moved(catalogue, 1)) == [
        "version 1 has no variable new, free: code that passes it fails",
        "version 1 requires old: code that does not pass it fails",
    ]


def test_records_travel_unchanged_and_in_any_order() -> None:
    catalogue = registered(draft("template:\n- {role: user, content: '{{x}}'}\nconfig: {a: [1, null, 0.5]}"), *THREE)
    moved(catalogue, 1)
    moved(catalogue, 2)
    records = [decode_prompt_record(each.key, encode_prompt_record(each)) for each in catalogue.records]
    assert records == catalogue.records
    assert {type(each) for each in records} == {PromptVersion, PromptLabel}
    assert PromptCatalogue(reversed(records)).records == records
    assert not PromptCatalogue(records).add(records[0])


@pytest.mark.parametrize("change", [{"sequence": 1}, {"version": 3, "sequence": 2}])
def test_an_older_change_of_a_label_does_not_count(change: dict[str, int]) -> None:
    first = {"name": "a", "label": "production", "version": 1, "sequence": 2, "changed_at_ms": 2}
    records: list[Any] = [PromptLabel(**each) for each in (first, first | change)]  # type: ignore[arg-type]
    label: Any = PromptCatalogue(records).label("a", "production")
    assert label.version == 1


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


FIRST, SECOND = (("production", 1, 1_000),), (("production", 2, 1_000),)


def labelled(*labels: tuple[str, int, int]) -> PromptCatalogue:
    catalogue = registered(*THREE)
    for label, version, at_ms in labels:
        moved(catalogue, version, at_ms, label)
    return catalogue


def test_a_proposal_moves_the_label_back_once() -> None:
    catalogue = labelled(*FIRST, ("production", 2, 2_000))
    decision = decide_rollback(catalogue, PROPOSAL, GUARD)
    change: Any = decision.change
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
    catalogue = labelled(("stable", 1, 1_000), ("candidate", 2, 2_000))
    proposal = replace(PROPOSAL, label="candidate", target=target)
    change: Any = decide_rollback(catalogue, proposal, GUARD).change
    assert (change.label, change.version) == ("candidate", version)


def test_otherwise_nothing_changes_and_the_text_says_why() -> None:
    for labels, members, problem in (
        ((), {}, "answer has no label production"),
        ((), {"prompt": "other"}, "No prompt is called other; registered prompts: answer"),
        (SECOND, {}, "production of answer has pointed to version 2 only"),
        ((("production", 3, 1_000),), {}, "answer:production points to version 3"),
        ((*FIRST, ("production", 2, AT_MS + 1)), {}, "ana changed answer:production after the hours of the evidence"),
        (SECOND, {"target": "stable"}, "answer has no label stable; its labels: production"),
        ((*SECOND, ("stable", 2, 1_000)), {"target": "stable"}, "answer:stable points to version 2 too"),
    ):
        decision = decide_rollback(labelled(*labels), replace(PROPOSAL, **members), GUARD)  # type: ignore[arg-type]
        assert decision.change is None
        assert problem in decision.text


def test_a_label_that_was_rolled_back_to_the_version_has_no_previous_one() -> None:
    catalogue = labelled(*SECOND, ("production", 3, 2_000))
    back: Any = roll_back(catalogue, "answer", "production", None, Author("ana", 3_000), "")
    catalogue.add(back)
    decision = decide_rollback(catalogue, PROPOSAL, GUARD)
    assert decision.change is None
    assert "came to version 2 by a rollback" in decision.text
    named: Any = decide_rollback(catalogue, replace(PROPOSAL, target="1"), GUARD).change
    assert named.version == 1
