"""Comparison of served texts with training texts: spelling, codes, defaults, and other differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sketches.skew.field import IntArray, Skew
from sketches.skew.texts import compare_texts

RNG = np.random.default_rng(5)
NAMES = ("São Paulo", "New York-JFK", "la Guardia", "Newark EWR", "Köln Bonn", "Orly")
TEXTS: list[str | None] = [NAMES[i] for i in RNG.integers(0, len(NAMES), 3_000)]


def compared(served: Sequence[str | None], recomputed: Sequence[str | None], *, show: bool = True) -> Skew:
    def coded(texts: Sequence[str | None]) -> tuple[IntArray, list[str]]:
        values = sorted({text for text in texts if text is not None}, key=hash)
        code = {text: i for i, text in enumerate(values)}
        return np.array([-1 if text is None else code[text] for text in texts], np.int64), values

    (left, left_values), (right, right_values) = coded(served), coded(recomputed)
    return compare_texts(left, right, left_values, right_values, show=show)


def test_equal_texts_have_no_skew() -> None:
    with_nulls = [None if i % 7 == 0 else text for i, text in enumerate(TEXTS)]
    for texts in (TEXTS, with_nulls, [None] * 5, []):
        skew = compared(texts, list(texts))
        assert (skew.compared, skew.mismatched, skew.kinds) == (len(texts), 0, ())


@pytest.mark.parametrize("share", [1.0, 0.15])
@pytest.mark.parametrize(
    ("what", "spell"),
    [
        ("case", str.upper),
        ("case", str.casefold),
        ("spaces", lambda text: f" {text} "),
        ("spaces", lambda text: text.replace(" ", "  ") + "\t"),
        ("accents", lambda text: text.replace("ã", "a").replace("ö", "o")),
        ("spaces, hyphens, underscores or other signs", lambda text: text.replace(" ", "_").replace("-", "_")),
        ("several differences of spelling", lambda text: f"{text.upper()} ".replace("Ö", "O").replace(" ", "-")),
    ],
)
def test_spelling_is_named(what: str, spell: Callable[[str], str], share: float) -> None:
    served = [spell(text) if RNG.random() < share else text for text in TEXTS if text is not None]
    skew = compared(served, TEXTS)
    assert skew.kinds == ("category spelling",)
    (result,) = skew.explanations
    assert result.detail.startswith(f"{what}: “")
    assert skew.mismatched == sum(left != right for left, right in zip(served, TEXTS, strict=True))


def test_other_codes_one_for_one_are_recoded() -> None:
    codes = {name: f"{i:03}" for i, name in enumerate(NAMES)}
    skew = compared([codes[text] for text in TEXTS if text is not None], TEXTS)
    assert skew.kinds == ("recoded",)
    assert skew.explanations[0].detail.startswith("6 texts one for one: “0")


def test_two_codes_that_were_swapped_are_recoded() -> None:
    swap = {NAMES[0]: NAMES[1], NAMES[1]: NAMES[0]}
    skew = compared([swap.get(text, text) for text in TEXTS if text is not None], TEXTS)
    assert skew.kinds == ("recoded",)
    assert skew.explanations[0].detail.startswith("2 texts one for one")


def test_codes_that_fall_together_are_not_one_for_one() -> None:
    few = {name: str(i % 3) for i, name in enumerate(NAMES)}
    assert compared([few[text] for text in TEXTS if text is not None], TEXTS).kinds == ("unexplained",)


def test_random_texts_are_unexplained() -> None:
    served = [TEXTS[i] for i in RNG.permutation(len(TEXTS))]
    assert compared(served, TEXTS).kinds == ("unexplained",)
    ids: list[str | None] = [f"a{i}" for i in range(3_000)]
    other: list[str | None] = [f"b{i}" for i in range(3_000)]
    assert compared(ids, other).kinds == ("unexplained",), "each text occurs once, which proves no code"


def test_truncated_texts_are_named() -> None:
    skew = compared([text[:3] for text in TEXTS if text is not None], TEXTS)
    assert (skew.kinds, skew.explanations[0].detail) == (("recoded",), "served holds the first 3 characters")


@pytest.mark.parametrize(
    ("served", "recomputed", "message"),
    [
        ("unknown", None, "served is “unknown” where recomputed is null"),
        (None, "unknown", "recomputed is “unknown” where served is null"),
        (None, "keep", "served is null where recomputed has a value"),
    ],
)
def test_nulls_are_reported_with_their_replacement(served: str | None, recomputed: str | None, message: str) -> None:
    hit = [i % 5 == 0 for i in range(3_000)]
    left = [served if wrong else text for wrong, text in zip(hit, TEXTS, strict=True)]
    right = [text if not wrong or recomputed == "keep" else recomputed for wrong, text in zip(hit, TEXTS, strict=True)]
    skew = compared(left, right)
    assert (skew.kinds, skew.explanations[0].detail, skew.mismatched) == (("null handling",), message, 600)


def test_a_default_for_other_texts_is_named() -> None:
    skew = compared(["other" if text in NAMES[2:] else text for text in TEXTS], TEXTS)
    assert skew.kinds == ("null handling",)
    assert skew.explanations[0].detail == "served is “other” where recomputed has another value"


def test_texts_of_personal_data_are_not_repeated() -> None:
    for plant in (str.upper, lambda text: text[::-1], lambda _text: "unknown", lambda text: text[:3]):
        skew = compared([plant(text) for text in TEXTS if text is not None], TEXTS, show=False)
        assert skew.kinds != ("unexplained",)
        for result in skew.explanations:
            assert not any(text in result.detail for text in [*NAMES, *map(str.upper, NAMES), "unknown"])
