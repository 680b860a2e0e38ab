"""Old and new programs read each other's events, labels and contracts.

`golden/` has the payloads of the first format. These files never change; a new format adds further files.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from barograph import Label, Prediction, dump_contract, load_contract, parse_contract
from barograph.events import encode_json
from barograph.schemas import event_schema
from barograph.values import encode_event

GOLDEN = Path(__file__).parent / "golden"

PREDICTION = Prediction(
    model="flight-delay",
    version="3",
    id="0f8a61c2",
    at=1377172800000,
    arm="b",
    context={"origin": "JFK", "channel": None},
    features={"temp": 71.6, "dewp": "NaN", "seats": 189, "carrier": "B6", "weekend": False, "wind": None},
    score=0.73,
    class_="late",
    scores={"late": 0.73, "on time": 0.27},
    metrics={"trees": 120},
    latency_ms=12.3,
    status="served",
    error="TimeoutError",
    producer="serving-7f3a-4711-9c0e12ab",
    seq=1042,
)
LABEL = Label(model="flight-delay", id="0f8a61c2", label=True, at=1377187200000)


class PredictionV1(msgspec.Struct, rename={"class_": "class"}):
    """A prediction as the first readers decode it; never changes."""

    model: str
    version: str
    id: str
    at: int | str
    arm: str | None = None
    context: dict[str, str | None] | None = None
    features: dict[str, float | int | str | bool | None] | None = None
    score: float | str | None = None
    class_: str | bool | int | None = None
    scores: dict[str, float | str | None] | None = None
    metrics: dict[str, float | str | None] | None = None
    latency_ms: float | str | None = None
    status: str | None = None
    error: str | None = None
    producer: str | None = None
    seq: int | None = None


class LabelV1(msgspec.Struct):
    """A label as the first readers decode it; never changes."""

    model: str
    id: str
    label: bool | float | int | str
    at: int | str


class LaterPrediction(Prediction, kw_only=True):
    region: str | None = None
    explanations: dict[str, list[float]] | None = None


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes().rstrip(b"\n")


def test_new_readers_read_old_events() -> None:
    assert msgspec.json.decode(golden("prediction-v1.json"), type=Prediction) == PREDICTION
    assert msgspec.json.decode(golden("label-v1.json"), type=Label) == LABEL


def test_old_readers_read_new_events() -> None:
    for event, encoded, reader in (
        (PREDICTION, encode_event(PREDICTION), PredictionV1),
        (LABEL, encode_json(LABEL), LabelV1),
    ):
        old = msgspec.structs.asdict(msgspec.json.decode(encoded, type=reader))
        assert old == {name: getattr(event, name) for name in old}


def test_unknown_members_are_tolerated_and_new_ones_may_be_missing() -> None:
    members = msgspec.structs.asdict(PREDICTION)
    later = encode_json(LaterPrediction(**members, region="eu", explanations={"temp": [0.1, 0.2]}))
    for reader in (Prediction, PredictionV1):
        read = msgspec.json.decode(later, type=reader)
        own = [name for name in members if name in reader.__struct_fields__]
        assert {name: getattr(read, name) for name in own} == {name: members[name] for name in own}, reader
    earlier = msgspec.json.decode(golden("prediction-v1.json"), type=LaterPrediction)
    assert (earlier.id, earlier.region) == ("0f8a61c2", None)


def test_the_writer_still_writes_the_first_format() -> None:
    assert encode_event(PREDICTION) == golden("prediction-v1.json")
    assert encode_json(LABEL) == golden("label-v1.json")


def test_no_member_was_removed_or_changed_its_type() -> None:
    for struct in (Prediction, Label):
        old = json.loads(golden(f"{struct.__name__.lower()}-v1.schema.json"))
        new = event_schema(struct)
        assert set(new["required"]) <= set(old["required"]), "a new member must be optional"
        for name, member in old["properties"].items():
            assert name in new["properties"], f"{name} was removed"
            assert _kinds(member) <= _kinds(new["properties"][name]), f"{name} no longer reads what it read"


def _kinds(schema: dict[str, Any]) -> set[str]:
    kinds = schema["type"]
    types = {kinds} if isinstance(kinds, str) else set(kinds)
    if "additionalProperties" in schema:
        types |= {f"of {kind}" for kind in _kinds(schema["additionalProperties"])}
    return types


def test_old_arrow_batches_are_read() -> None:
    predictions, labels = (
        pa.ipc.open_stream(GOLDEN.joinpath(f"{name}-v1.arrow").read_bytes()).read_all().to_pylist()
        for name in ("predictions", "labels")
    )
    first, second = predictions
    assert (first["features.seats"], first["features.weekend"], first["class"]) == (189, False, "late")
    assert (second["error"], second["seq"]) == ("TimeoutError", 1)
    assert [(row["id"], row["label"]) for row in labels] == [("a", True), ("b", False)]


def test_old_contracts_are_read() -> None:
    """The id is part of the format: if it changes, every model appears to have a new contract."""
    contract = load_contract(GOLDEN / "contract-v1.yaml")
    assert contract.id == "d486ddafc983e0fb"
    assert parse_contract(dump_contract(contract)) == contract
