import pytest
from barograph.text.features import MAX_CHARS, code_share


def test_code_and_prose() -> None:
    shares = {
        "```python\nprint(1)\n```": 1,
        "~~~\nanything at all\n~~~": 1,
        "```\nnot closed": 1,
        "x = 1\nfor i in range(3):\n    print(i)": 1,
        "SELECT a, b FROM t;": 1,
        "<div class='x'>\n</div>": 1,
        "if (a) {\n  return b;\n}": 1,
        "How are you?\nFine.": 0,
        "In 2024, we (all) went home.": 0,
        "import data to excel": 0,
        # Characters without white space are counted, and nothing has no share.
        "1234 56\n```\nab\n```": pytest.approx(8 / 14),
        "": None,
        " \n": None,
        # Only the beginning is read.
        "a" * MAX_CHARS + "\n```\nx = 1\n```": 0,
    }
    assert {text: code_share(text) for text in shares} == shares
