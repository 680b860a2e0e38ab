"""Decisions of `plan` and `apply` that need no server: differences, times, topics."""

import msgspec
import pytest
from barograph.contract import Contract, Field, LabelSpec, Slice, Window

from barograph_server.errors import CommandError
from barograph_server.provisioning.catalogue import contract_difference
from barograph_server.provisioning.topics import TopicSpec, TopicState, compare, topic_specs
from barograph_server.settings import Settings
from barograph_server.times import parse_effective

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
    extended = compare(SPEC, TopicState("id", 3, config))
    assert extended is not None
    assert (extended.grow_from, extended.create, extended.settings) == (3, False, None)
    reset = compare(SPEC, TopicState("id", 4, {"cleanup.policy": "compact"}))
    assert reset is not None
    assert reset.settings == {"cleanup.policy": ("compact", "delete")}
    keyed = TopicSpec("l", 4, {}, {})
    assert compare(keyed, TopicState("id", 3, {})) is None


def test_topics_whose_times_count_have_broker_timestamps_and_all_topics_the_prefix() -> None:
    specs = topic_specs(
        Settings(topic_prefix="eu-", predictions_partitions=6, labels_partitions=5, partials_partitions=3)
    )
    by_name = {spec.name: spec for spec in specs}
    assert {name: spec.partitions for name, spec in by_name.items()} == {
        "eu-predictions": 6,
        "eu-labels": 5,
        "eu-partials": 3,
        "eu-predictions.dead": 1,
        "eu-labels.dead": 1,
        "eu-partials.dead": 1,
        "eu-dead-letters": 1,
        "eu-model-health": 1,
        "eu-prompts": 1,
    }
    timed = {name for name, spec in by_name.items() if spec.enforced.get("message.timestamp.type") == "LogAppendTime"}
    assert timed == {f"eu-{name}" for name in ("predictions", "labels", "partials", "model-health", "prompts")}
