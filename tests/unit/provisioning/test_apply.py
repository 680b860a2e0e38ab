from pathlib import Path
from typing import Any

import msgspec
import pytest
from barograph.contract import Contract, Field, LabelSpec, Slice, Text, Window
from barograph.contract.evaluators import Evaluator
from barograph.contract.file import dump_contract, parse_contract

from barograph_server.errors import EXIT_OK, ApplyError, CommandError
from barograph_server.provisioning.catalogue import contract_difference
from barograph_server.provisioning.grafana.compare import differences
from barograph_server.provisioning.plan import first_baselines, with_evaluators
from barograph_server.provisioning.topics import TopicSpec, TopicState, compare, topic_specs
from barograph_server.settings import Settings
from barograph_server.sketches.baseline.baseline import dump_baseline, load_baseline
from barograph_server.sketches.baseline.fit import fit_problems
from barograph_server.sketches.baseline.layout import Layout
from barograph_server.streams.evaluator.active import NO_VERSION
from barograph_server.times import parse_effective
from tests.support import command_line
from tests.support.alerting import MANY, NUMBER
from tests.support.grafana_provisioning import PROVISIONING, key_faults, start
from tests.support.grafana_state import GrafanaState

OLD = Contract(
    model="m",
    fields=(
        Field(name="x", type="float", source="features.x"),
        Field(name="removed", type="category", source="features.removed"),
    ),
    slices=(Slice(name="region", source="context.region"),),
    ignored={"request_id": "an id"},
)


def test_a_difference_names_each_key_with_old_and_new_value() -> None:
    new = msgspec.structs.replace(
        OLD,
        description="late flights",
        lateness_s=3600,
        windows=(Window(900, 60), Window(86_400, 3600, last=500)),
        thresholds=msgspec.structs.replace(OLD.thresholds, major=0.25),
        fields=(
            Field(name="x", type="float", source="features.x", critical=True, high=10.0),
            Field(name="added", type="int", source="features.added", critical=True),
        ),
        slices=(),
        ignored={},
    )
    assert contract_difference(OLD, OLD) == []
    assert set(contract_difference(OLD, new)) == {
        "- field removed",
        "- slice region",
        "- ignored: request_id",
        "+ field added",
        "~ field x: critical: false → true",
        "~ field x: high: null → 10.0",
        '~ description: "" → late flights',
        "~ lateness: 2m → 1h",
        "~ windows: 15m hop 1m, 1h hop 5m, 1d hop 1h → 15m hop 1m, last 500 of 1d hop 1h",
        "~ thresholds: major: 0.2 → 0.25",
    }
    labelled = contract_difference(OLD, msgspec.structs.replace(OLD, label=LabelSpec(type="bool")))
    assert set(labelled) >= {"+ label: type: bool", "+ label: threshold: 0.5"}


def test_a_time_has_an_offset_and_whole_seconds() -> None:
    assert parse_effective("2026-03-01T00:00:00Z") == parse_effective("2026-03-01T01:00+01:00") == 1772323200
    assert parse_effective(None) is None
    for text in ("2026-03-01", "2026-03-01T00:00:00", "tomorrow", "2026-03-01T00:00:00.5Z", ""):
        with pytest.raises(CommandError, match="write date, time in whole seconds and offset"):
            parse_effective(text)


SPEC = TopicSpec("t", 4, {"cleanup.policy": "delete"}, {"retention.ms": "1"}, can_grow=True)


def test_a_topic_is_created_extended_reset_or_left_unchanged() -> None:
    assert compare(SPEC, None) is not None
    config = {"cleanup.policy": "delete", "retention.ms": "5"}
    assert compare(SPEC, TopicState("id", 4, config)) is None
    assert compare(SPEC, TopicState("id", 9, config)) is None
    extended: Any = compare(SPEC, TopicState("id", 3, config))
    assert (extended.grow_from, extended.create, extended.settings) == (3, False, None)
    reset: Any = compare(SPEC, TopicState("id", 4, {"cleanup.policy": "compact"}))
    assert reset.settings == {"cleanup.policy": ("compact", "delete")}
    assert compare(TopicSpec("l", 4, {}, {}), TopicState("id", 3, {})) is None


def test_topics_whose_times_count_have_broker_timestamps_and_all_topics_the_prefix() -> None:
    counts: dict[str, Any] = {"predictions_partitions": 6, "labels_partitions": 5, "partials_partitions": 3}
    by_name = {spec.name: spec for spec in topic_specs(Settings(topic_prefix="eu-", **counts))}
    single = ("predictions.dead", "labels.dead", "partials.dead", "dead-letters", "model-health", "prompts")
    partitions = {"predictions": 6, "waiting-answers": 6, "labels": 5, "partials": 3, **dict.fromkeys(single, 1)}
    assert {name: spec.partitions for name, spec in by_name.items()} == {f"eu-{k}": n for k, n in partitions.items()}
    timed = {name for name, spec in by_name.items() if spec.enforced.get("message.timestamp.type") == "LogAppendTime"}
    assert timed == {f"eu-{name}" for name in ("predictions", "labels", "partials", "model-health", "prompts")}


BOT = Contract(
    model="bot",
    text=Text(content="keep", sample=1.0),
    evaluators={"refuses": Evaluator(check="refusal"), "faithful": Evaluator(judge="f.yaml", endpoint="e")},
)
PLAIN = Contract(model="bot.refuses")


def test_each_evaluator_gets_a_contract_and_a_baseline_that_fits_it() -> None:
    pairs = with_evaluators([(BOT, "the text of the file")])
    assert [contract.model for contract, _ in pairs] == ["bot", "bot.refuses", "bot.faithful"]
    assert pairs[0][1] == "the text of the file"
    assert all(parse_contract(text) == contract for contract, text in pairs[1:])
    baselines = first_baselines(contract for contract, _ in pairs[1:])
    for (contract, _), baseline in zip(pairs[1:], baselines, strict=True):
        assert (baseline.model, baseline.version, baseline.rows) == (contract.model, NO_VERSION, 0)
        assert fit_problems(contract, baseline) == []
        assert load_baseline(dump_baseline(baseline), "a baseline") == baseline
    assert with_evaluators([(PLAIN, "")]) == [(PLAIN, "")]


def test_a_baseline_without_rows_has_the_fields_classes_and_slices_of_the_contract() -> None:
    contract = Contract(
        model="m",
        fields=(
            Field(name="x", type="float", source="metrics.x", low=0.0),
            Field(name="flag", type="bool", source="features.flag"),
            Field(name="class", type="category", source="class"),
        ),
        slices=(Slice(name="prompt", source="context.prompt", values=("a", "b")),),
        label=LabelSpec(type="category", classes=("late", "early")),
    )
    (baseline,) = first_baselines([contract])
    assert (baseline.rows, fit_problems(contract, baseline)) == (0, [])
    assert load_baseline(dump_baseline(baseline), "a baseline") == baseline
    assert [field.n_cells for field in baseline.fields] == [2, 3, 4]
    assert Layout(baseline).slices == ("all", "prompt=a", "prompt=b", "prompt=other")
    (bare,) = first_baselines([Contract(model="m")])
    assert [field.name for field in bare.fields] == ["latency_ms"]


def test_the_derived_contracts_in_force_are_no_conflict() -> None:
    pairs = with_evaluators([(BOT, "")])
    again = with_evaluators([(BOT, "")], [contract for contract, _ in pairs])
    assert [contract.id for contract, _ in again] == [contract.id for contract, _ in pairs]
    changed = msgspec.structs.replace(BOT, evaluators={"refuses": Evaluator(check="refusal", share=0.5)})
    assert len(with_evaluators([(changed, "")], [contract for contract, _ in pairs])) == 2


@pytest.mark.parametrize(("contracts", "stored"), [([BOT, PLAIN], []), ([BOT], [PLAIN]), ([PLAIN], [BOT])])
def test_a_contract_of_the_same_name_is_an_error(contracts: list[Contract], stored: list[Contract]) -> None:
    with pytest.raises(ApplyError, match=r"bot\.refuses"):
        with_evaluators([(each, dump_contract(each)) for each in contracts], stored)


def test_differences_lead_from_current_to_desired() -> None:
    two = {"id": 2, "title": "B"}
    for current, desired, lines in (
        ({"a": 1, "b": 2}, {"a": 2, "c": 3}, ["~ a: 1 → 2", "+ c", "- b"]),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}, ['~ a.b: "x" → "y"']),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["~ a[1]: 2 → 3"]),
        ({"p": [{"id": 1, "title": "A"}, two]}, {"p": [two, {"id": 3, "title": "C"}]}, ["+ p[C]", "- p[A]"]),
        ({"p": [{"id": 1}, {"id": 2}]}, {"p": [{"id": 2}, {"id": 1}]}, ["~ p: order changed"]),
        ({"p": [{"uid": "a", "x": 1}]}, {"p": [{"uid": "a", "x": 2}]}, ["~ p[a].x: 1 → 2"]),
    ):
        assert list(differences(current, desired)) == lines


ENVIRON = {"ALERTS_WEBHOOK_URL": "http://hook"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "species.yaml").write_text(MANY)
    (tmp_path / "price.yaml").write_text(NUMBER)
    return tmp_path


def run(*words: str) -> int:
    return command_line.run("plan", "--grafana-files", "alerting", *words)


def grafana(folder: Path, state: GrafanaState) -> set[str]:
    mounted = {PROVISIONING / "alerting" / path.name: path.read_text() for path in (folder / "alerting").iterdir()}
    assert key_faults(mounted) == []
    start(state, mounted, ENVIRON)
    labels = [rule["labels"] for group in state.groups.values() for rule in group["rules"]]
    return {each["model"] for each in labels if "model" in each}


def test_rules_of_a_contract_that_is_left_out_are_deleted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Grafana keeps a rule in its database when its file is gone."""
    state = GrafanaState()
    assert run("species.yaml", "price.yaml") == EXIT_OK
    assert grafana(folder, state) == {"species", "price", "price.helpful"}
    (folder / "alerting/own.yaml").write_text("apiVersion: 1\n")
    for _ in range(2):
        run("species.yaml")
        assert grafana(folder, state) == {"species"}
    output = capsys.readouterr().out
    assert "- alerting/rules-price.yaml" in output
    assert "+ alerting/deleted-rules.yaml" in output
    assert (folder / "alerting/own.yaml").exists(), "it was not generated"
    run("species.yaml", "price.yaml")
    assert grafana(folder, state) == {"species", "price", "price.helpful"}
    assert not (folder / "alerting/deleted-rules.yaml").exists()
