"""The page's tables of streams without faults."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.scoreboard.results import QuietPage, QuietStream


def streams_table(streams: list[QuietStream]) -> Iterator[str]:
    """Return one row for each stream."""
    yield "| data set | events an hour | days | φ of the field of faults in a day | false pages | of a real change |"
    yield "|---|--:|--:|--:|--:|--:|"
    for each in streams:
        n_false = sum(page.is_false for page in each.pages)
        yield (
            f"| {each.data_set} | {each.per_hour:,.0f} | {each.days} | {each.phi:.3g} | {n_false} "
            f"| {len(each.pages) - n_false} |"
        )


def pages_table(streams: list[QuietStream]) -> Iterator[str]:
    """Return one row for each page."""
    yield "| data set | events an hour | day | rule | field | window | class | p of the source's rows | training days |"
    yield "|---|--:|--:|---|---|---|---|---|--:|"
    for stream in streams:
        for page in stream.pages:
            yield (
                f"| {stream.data_set} | {stream.per_hour:,.0f} | {page.day:.1f} | {page.rule} | {page.field} "
                f"| {page.window} | {_class(page)} |"
            )


def _class(page: QuietPage) -> str:
    if page.evidence is None:
        return "false: the stream does not change | – | –"
    name = "false: no change shown" if page.is_false else "real change"
    evidence = page.evidence
    return f"{name} | {evidence.p_value:.0e} ({evidence.n} rows, φ {evidence.phi:.2g}) | {evidence.training_days}"
