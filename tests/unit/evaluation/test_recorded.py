"""Why recorded answers have no text."""

from barograph.contract import Contract, Text

from barograph_server.evaluation.recorded import without_text_reason
from barograph_server.warehouse.evaluation.recorded_answers import AnswerCounts


def test_the_reason_names_the_key_of_the_contract_that_keeps_text() -> None:
    partly = AnswerCounts(10, 2, 3, 0)
    cases = {
        "without `text.content` no text is kept": (None, partly),
        "`text.content: hash` keeps only hashes": (Text(content="hash"), partly),
        "`text.sample: 0.1` in the contract": (Text(content="redact", sample=0.1), partly),
        "before `text.content` kept it": (Text(content="redact", sample=1.0), partly),
        "all predictions there failed": (None, AnswerCounts(2, 2, 0, 0)),
        "no raw row": (None, AnswerCounts(0, 0, 0, 0)),
    }
    for expected, (text, counts) in cases.items():
        assert expected in without_text_reason(Contract(model="m", text=text), counts)
    assert without_text_reason(Contract(model="m"), AnswerCounts(5, 2, 3, 0)) == ""
