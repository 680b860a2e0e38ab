"""Compare texts pair by pair: spelling, other codes, defaults.

Rules run on distinct pairs of texts with their counts.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from barograph_server.sketches.drift.rates import wilson
from barograph_server.sketches.skew.field import (
    NAMED_SHARE,
    Explanation,
    FloatArray,
    IntArray,
    Skew,
    ValuePairs,
    choose,
)

NULL = -1

_SEPARATORS = re.compile(r"[\W_]+")
_SPACES = re.compile(r"\s+")

Pair = tuple[str | None, str | None]


def _accents(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("case", str.casefold),
    ("spaces", lambda text: _SPACES.sub(" ", text).strip()),
    ("accents", _accents),
    ("spaces, hyphens, underscores or other signs", lambda text: _SEPARATORS.sub("", text)),
)
"""Differences of spelling, with the function that removes each."""
_DETAIL_PAIRS = 3


def normal_spelling(text: str) -> str:
    """Remove all differences of `SPELLINGS`."""
    for _, normal in SPELLINGS:
        text = normal(text)
    return text


def compare_texts(
    served: IntArray,
    recomputed: IntArray,
    served_values: Sequence[str],
    recomputed_values: Sequence[str],
    *,
    series: Callable[[ValuePairs, IntArray], Iterator[Explanation]] | None = None,
    show: bool = True,
) -> Skew:
    """Compare texts pair by pair and explain the differences.

    Args:
        served: codes of shape (n,), indices into `served_values`; `NULL` for null.
        recomputed: codes of shape (n,), indices into `recomputed_values`.
        series: tries rules that use entity and time on the mismatches (as codes of `recomputed_values`) and their
            indices.
        show: whether rules may show texts; False for personal data.
    """
    n = len(served)
    known = {text: code for code, text in enumerate(recomputed_values)}
    same = np.array([known.get(text, len(known)) for text in served_values] + [NULL], np.int64)
    differ = same[served] != recomputed
    rows = np.flatnonzero(differ)
    low, high = wilson(len(rows), n)
    explanations: tuple[Explanation, ...] = ()
    if len(rows):
        width = len(recomputed_values) + 1
        joint = (served[rows].astype(np.int64) + 1) * width + recomputed[rows] + 1
        distinct, counts = np.unique(joint, return_counts=True)
        pairs: Counter[Pair] = Counter()
        for key, count in zip(distinct.tolist(), counts.tolist(), strict=True):
            left, right = divmod(key, width)
            pair = (served_values[left - 1] if left else None, recomputed_values[right - 1] if right else None)
            pairs[pair] += count
        if series is not None:
            codes = _as_numbers(same[served[rows]], recomputed[rows])
            explanations = _explain(pairs, lambda: series(codes, rows), show)
        else:
            explanations = _explain(pairs, None, show)
    return Skew(n, len(rows), float(low), float(high), explanations, "", rows)


def _as_numbers(served: IntArray, recomputed: IntArray) -> ValuePairs:
    def numbers(codes: IntArray) -> FloatArray:
        return np.where(codes == NULL, np.nan, codes.astype(np.float64))

    return ValuePairs(numbers(served), numbers(recomputed), tolerance=0.0, floor=0.0)


def _explain(
    pairs: Counter[Pair], series: Callable[[], Iterator[Explanation]] | None, show: bool
) -> tuple[Explanation, ...]:
    nulls = Counter({pair: count for pair, count in pairs.items() if None in pair})
    values = pairs - nulls
    parts: list[Explanation] = []
    if values:
        best = choose(_rules(values, show))
        if (best is None or not best.is_named) and series is not None:
            whole = choose(series())
            if whole is not None and whole.is_named:
                return (whole,)
            best = choose(each for each in (best, whole) if each is not None)
        if best is not None:
            parts.append(best)
    if nulls:
        parts.append(_null_rule(nulls, show))
    return tuple(sorted(parts, key=lambda part: -part.of))


def _null_rule(pairs: Counter[Pair], show: bool) -> Explanation:
    n = pairs.total()
    filled = Counter({served: count for (served, recomputed), count in pairs.items() if recomputed is None})
    side, other = "served", "recomputed"
    if 2 * filled.total() < n:
        filled = Counter({recomputed: count for (served, recomputed), count in pairs.items() if served is None})
        side, other = other, side
    value, count = filled.most_common(1)[0]
    if count >= NAMED_SHARE * filled.total() and count > 1:
        detail = f"{side} is {_quoted(value, show)} where {other} is null"
        return Explanation("null handling", detail, count, n, n, is_plain=True)
    detail = f"{other} is null where {side} has a value"
    return Explanation("null handling", detail, filled.total(), n, n, is_plain=True)


def _rules(pairs: Counter[Pair], show: bool) -> Iterator[Explanation]:
    yield _default(pairs, show, side=0)
    yield from _spelling(pairs, show)
    yield _default(pairs, show, side=1)
    yield from _cut(pairs)
    yield _recoded(pairs, show)


def _default(pairs: Counter[Pair], show: bool, *, side: int) -> Explanation:
    """Explain mismatches by one text on one side, regardless of the other side."""
    n = pairs.total()
    texts: Counter[str | None] = Counter()
    for pair, count in pairs.items():
        texts[pair[side]] += count
    value, count = texts.most_common(1)[0]
    others = {pair[1 - side] for pair in pairs if pair[side] == value}
    names = ("served", "recomputed")
    detail = f"{names[side]} is {_quoted(value, show)} where {names[1 - side]} has another value"
    return Explanation("null handling", detail, count if len(others) > 1 else 0, n, n)


def _spelling(pairs: Counter[Pair], show: bool) -> Iterator[Explanation]:
    """Explain mismatches by one difference of spelling, or by several together."""
    n = pairs.total()
    for what, normal in SPELLINGS:
        yield _same(pairs, normal, what, n, show)
    yield _same(pairs, normal_spelling, "several differences of spelling", n, show)


def _same(pairs: Counter[Pair], normal: Callable[[str], str], what: str, n: int, show: bool) -> Explanation:
    alike = Counter({pair: count for pair, count in pairs.items() if normal(pair[0] or "") == normal(pair[1] or "")})
    return Explanation("category spelling", f"{what}{_examples(alike, show)}", alike.total(), n, n)


def _cut(pairs: Counter[Pair]) -> Iterator[Explanation]:
    """Explain mismatches by one side holding the first characters of the other."""
    n = pairs.total()
    for name, coarse, fine in (("served", 0, 1), ("recomputed", 1, 0)):
        lengths: Counter[int] = Counter()
        for pair, count in pairs.items():
            short, long = pair[coarse] or "", pair[fine] or ""
            if short and long.startswith(short) and len(long) > len(short):
                lengths[len(short)] += count
        if lengths:
            length, count = lengths.most_common(1)[0]
            yield Explanation("recoded", f"{name} holds the first {length} characters", count, n, n)


def _recoded(pairs: Counter[Pair], show: bool) -> Explanation:
    """Explain mismatches by a one-to-one mapping; texts that occur once prove nothing."""
    n = pairs.total()
    by_recomputed: dict[str | None, Counter[str | None]] = {}
    by_served: dict[str | None, Counter[str | None]] = {}
    for (served, recomputed), count in pairs.items():
        by_recomputed.setdefault(recomputed, Counter())[served] += count
        by_served.setdefault(served, Counter())[recomputed] += count
    mapping: Counter[Pair] = Counter()
    judged = 0
    for recomputed, texts in by_recomputed.items():
        if texts.total() < 2:
            continue
        judged += texts.total()
        served, count = texts.most_common(1)[0]
        if by_served[served].most_common(1)[0][0] == recomputed:
            mapping[served, recomputed] = count
    detail = f"{len(mapping)} text{'s' if len(mapping) != 1 else ''} one for one{_examples(mapping, show)}"
    return Explanation("recoded", detail, mapping.total(), judged, n)


def _examples(pairs: Counter[Pair], show: bool) -> str:
    if not show or not pairs:
        return ""
    top = pairs.most_common(_DETAIL_PAIRS)
    return ": " + ", ".join(
        f"{_quoted(served, show)} for {_quoted(recomputed, show)}" for (served, recomputed), _ in top
    )


def _quoted(text: str | None, show: bool) -> str:
    if not show:
        return "one text"
    return f"“{(text or '')[:40]}”"
