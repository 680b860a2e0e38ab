import pytest
from barograph.text.code_share import MAX_CHARS, code_share


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```",
        "~~~\nanything at all\n~~~",
        "```\nnot closed",
        "x = 1\nfor i in range(3):\n    print(i)",
        "SELECT a, b FROM t;",
        "<div class='x'>\n</div>",
        "if (a) {\n  return b;\n}",
        "import numpy as np",
    ],
)
def test_code(text: str) -> None:
    assert code_share(text) == 1


@pytest.mark.parametrize(
    "text",
    [
        "How are you?\nFine.",
        "Please write: if this is it, then go.",
        "In 2024, we (all) went home.",
        "import data to excel",
    ],
)
def test_prose(text: str) -> None:
    assert code_share(text) == 0


def test_the_share_counts_characters_without_white_space() -> None:
    assert code_share("1234 56\n```\nab\n```") == pytest.approx(8 / 14)


def test_nothing_has_no_share() -> None:
    assert code_share("") is None
    assert code_share(" \n") is None


def test_only_the_beginning_is_read() -> None:
    assert code_share("a" * MAX_CHARS + "\n```\nx = 1\n```") == 0
