import re

from barograph.contract import Arms, Contract, Field, Slice, Text
from barograph.contract.check import check_failures


def test_what_a_section_must_not_say() -> None:
    for text, reason in (
        (Text(codebook="support.codebook.npz"), "text.codebook.*is not the id of a codebook"),
        (Text(content="redact"), "text.sample.*publishes nothing"),
        (Text(sample=0.5), "text.sample.*has no effect"),
        (Text(content="keep", sample=1.5), "text.sample.*outside"),
    ):
        (failure,) = check_failures(Contract(model="m", text=text))
        path = ".".join(map(str, failure.path))
        assert re.search(reason, f"{path}: {failure.message}"), reason


def test_text_is_counted_nowhere() -> None:
    for source in ("context.prompt_text", "context.answer_text"):
        fields = (Field(name="a", type="category", source=source),)
        slices = (Slice(name="b", source=source), Slice(name="c", source=f"context.region * {source}"))
        arms = Arms(shares={"a": 0.5, "b": 0.5}, unit=source)
        failures = check_failures(Contract(model="m", fields=fields, slices=slices, user=source, arms=arms))
        paths = [failure.path[:2] for failure in failures if "only recorded" in failure.message]
        assert sorted(paths) == [("arms", "unit"), ("fields", "a"), ("slices", "b"), ("slices", "c"), ("user",)]
