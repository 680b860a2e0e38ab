"""Text of a metrics endpoint → samples by metric, within limits.

The parser is that of `prometheus_client`. It adds `_total` to counters whose name lacks it, and servers differ, so
that names are without it here (`plain_name`).
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from barograph_server.streams.scrape.server_table import ScrapeError, ScrapeOutcome, plain_name

MAX_SAMPLES = 50_000
"""Most samples of one text. vLLM has some 1,500 for one model."""
MAX_LINE_CHARS = 16_384
MAX_LABELS = 64
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")


class ExpositionSample(NamedTuple):
    """The value of one series."""

    labels: Mapping[str, str]
    value: float


@dataclass(slots=True)
class Exposition:
    """The samples of one text."""

    samples: dict[str, list[ExpositionSample]] = field(default_factory=lambda: defaultdict(list))
    """Metric → its series, without repetition."""
    names: set[str] = field(default_factory=set)
    """Names of families as in the text, up to `_total`."""
    duplicates: int = 0
    """Series that occurred again; the first occurrence counts."""


def parse_exposition(body: bytes) -> Exposition:
    """Read a text.

    Raises:
        ScrapeError: it is not text of Prometheus, or is beyond the limits.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _unreadable("it is not UTF-8") from error
    if max(map(len, text.split("\n"))) > MAX_LINE_CHARS:
        raise _unreadable(f"a line is longer than {MAX_LINE_CHARS:,} characters")
    exposition, n = Exposition(), 0
    series: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
    try:
        for family in text_string_to_metric_families(text):
            exposition.names.add(plain_name(family.name))
            for sample in family.samples:
                n += 1
                if n > MAX_SAMPLES:
                    raise _unreadable(f"it has more than {MAX_SAMPLES:,} samples")
                if not _NAME.fullmatch(sample.name) or len(sample.labels) > MAX_LABELS:
                    raise _unreadable("a line is not a sample")
                name = plain_name(sample.name)
                key = name, tuple(sorted(sample.labels.items()))
                if key in series:
                    exposition.duplicates += 1
                    continue
                series.add(key)
                exposition.samples[name].append(ExpositionSample(sample.labels, float(sample.value)))
    except ScrapeError:
        raise
    except Exception as error:
        # The parser raises whatever the text makes its code raise: ValueError, IndexError, KeyError, AttributeError.
        raise _unreadable(f"the parser fails with {type(error).__name__}") from error
    return exposition


def _unreadable(reason: str) -> ScrapeError:
    return ScrapeError(ScrapeOutcome.UNREADABLE, f"The answer is not text of Prometheus: {reason}.")
