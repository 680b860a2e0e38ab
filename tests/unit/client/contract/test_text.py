import re

import pytest
from barograph.contract import Arms, Contract, Field, Slice, Text
from barograph.contract.check import check_failures
from barograph.contract.file import dump_contract, parse_contract

HEADER = "contract: 1\nmodel: m\n"


@pytest.mark.parametrize(
    "text",
    [
        Text(),
        Text(codebook="0123456789abcdef", languages=("en", "no")),
        Text(codebook="1234567890123456", content="redact", sample=0.01),
        Text(codebook="12345678901234e5", content="hash"),
    ],
)
def test_a_written_section_is_read_back(text: Text) -> None:
    contract = Contract(model="m", text=text)
    assert parse_contract(dump_contract(contract), "m.yaml") == contract


def test_a_contract_without_the_section_keeps_its_id() -> None:
    assert Contract(model="m").id == parse_contract(HEADER, "m.yaml").id
    assert Contract(model="m", text=Text()).id != Contract(model="m").id


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (Text(codebook="support.codebook.npz"), "text.codebook.*is not the id of a codebook"),
        (Text(content="redact"), "text.sample.*publishes nothing"),
        (Text(sample=0.5), "text.sample.*has no effect"),
        (Text(content="keep", sample=1.5), "text.sample.*outside"),
    ],
)
def test_what_a_section_must_not_say(text: Text, reason: str) -> None:
    (failure,) = check_failures(Contract(model="m", text=text))
    path = ".".join(map(str, failure.path))
    assert re.search(reason, f"{path}: {failure.message}")


@pytest.mark.parametrize("source", ["context.prompt_text", "context.answer_text"])
def test_text_is_never_counted(source: str) -> None:
    fields = (Field(name="a", type="category", source=source),)
    slices = (Slice(name="b", source=source), Slice(name="c", source=f"context.region * {source}"))
    failures = check_failures(Contract(model="m", fields=fields, slices=slices))
    assert [failure.path[:2] for failure in failures if "only recorded" in failure.message] == [
        ("fields", "a"),
        ("slices", "b"),
        ("slices", "c"),
    ]


def test_neither_costs_by_user_nor_arms_may_read_text() -> None:
    arms = Arms(shares={"a": 0.5, "b": 0.5}, unit="context.answer_text")
    failures = check_failures(Contract(model="m", user="context.prompt_text", arms=arms))
    assert [each.path for each in failures if "only recorded" in each.message] == [("user",), ("arms", "unit")]
