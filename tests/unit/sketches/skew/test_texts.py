"""Comparison of served texts with training texts: spelling, codes, defaults, and other differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from barograph_server.sketches.skew.field import IntArray, Skew
from barograph_server.sketches.skew.texts import compare_texts

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
def test_spelling_is_named(share: float) -> None:
    spellings: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("case", str.upper),
        ("case", str.casefold),
        ("spaces", lambda text: f" {text} "),
        ("spaces", lambda text: text.replace(" ", "  ") + "\t"),
        ("accents", lambda text: text.replace("ã", "a").replace("ö", "o")),
        ("spaces, hyphens, underscores or other signs", lambda text: text.replace(" ", "_").replace("-", "_")),
        ("several differences of spelling", lambda text: f"{text.upper()} ".replace("Ö", "O").replace(" ", "-")),
    )
    for what, spell in spellings:
        served = [spell(text) if RNG.random() < share else text for text in TEXTS if text is not None]
        skew = compared(served, TEXTS)
        assert skew.kinds == ("category spelling",), what
        (result,) = skew.explanations
        assert result.detail.startswith(f"{what}: “")
        assert skew.mismatched == sum(left != right for left, right in zip(served, TEXTS, strict=True))


def test_other_codes_one_for_one_are_recoded() -> None:
    def recoded(code: Callable[[str], str]) -> tuple[tuple[str, ...], str]:
        skew = compared([code(text) for text in TEXTS if text is not None], TEXTS)
        return skew.kinds, skew.explanations[0].detail

    codes = {name: f"{i:03}" for i, name in enumerate(NAMES)}
    kinds, detail = recoded(codes.__getitem__)
    assert kinds == ("recoded",)
    assert detail.startswith("6 texts one for one: “0")
    swap = {NAMES[0]: NAMES[1], NAMES[1]: NAMES[0]}
    kinds, detail = recoded(lambda text: swap.get(text, text))
    assert kinds == ("recoded",)
    assert detail.startswith("2 texts one for one")
    assert recoded(lambda text: text[:3]) == (("recoded",), "served holds the first 3 characters")
    # Codes that fall together are not one for one.
    assert recoded(lambda text: str(NAMES.index(text) % 3))[0] == ("unexplained",)
    default = recoded(lambda text: "other" if text in NAMES[2:] else text)
    assert default == (("null handling",), "served is “other” where recomputed has another value")


def test_random_texts_are_unexplained() -> None:
    served = [TEXTS[i] for i in RNG.permutation(len(TEXTS))]
    assert compared(served, TEXTS).kinds == ("unexplained",)
    ids: list[str | None] = [f"a{i}" for i in range(3_000)]
    other: list[str | None] = [f"b{i}" for i in range(3_000)]
    assert compared(ids, other).kinds == ("unexplained",), "each text occurs once, which proves no code"


def test_nulls_are_reported_with_their_replacement() -> None:
    for served, recomputed, message in (
        ("unknown", None, "served is “unknown” where recomputed is null"),
        (None, "unknown", "recomputed is “unknown” where served is null"),
        (None, "keep", "served is null where recomputed has a value"),
    ):
        left = [served if i % 5 == 0 else text for i, text in enumerate(TEXTS)]
        right = [recomputed if i % 5 == 0 and recomputed != "keep" else text for i, text in enumerate(TEXTS)]
        skew = compared(left, right)
        assert (skew.kinds, skew.explanations[0].detail, skew.mismatched) == (("null handling",), message, 600)


def test_texts_of_personal_data_are_not_repeated() -> None:
    for plant in (str.upper, lambda text: text[::-1], lambda _text: "unknown", lambda text: text[:3]):
        skew = compared([plant(text) for text in TEXTS if text is not None], TEXTS, show=False)
        assert skew.kinds != ("unexplained",)
        for result in skew.explanations:
            assert not any(text in result.detail for text in [*NAMES, *map(str.upper, NAMES), "unknown"])
