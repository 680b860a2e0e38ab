"""Unusual training tables, generated from a seed, for `barograph infer`."""

import decimal
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

Columns = dict[str, Any]
ODD_TABLES: dict[str, Callable[[np.random.Generator, int], pa.Table]] = {}
START_S = 1_740_000_000
ROWS = 4_000


def _odd(columns: Callable[[np.random.Generator, int], Columns]) -> Callable[[np.random.Generator, int], Columns]:
    ODD_TABLES[columns.__name__] = lambda rng, n: pa.table(columns(rng, n))
    return columns


def nulled(rng: np.random.Generator, values: pa.Array, share: float) -> pa.Array:
    return pa.array(values.to_pylist(), values.type, mask=rng.random(len(values)) < share)


@_odd
def plain_numbers(rng: np.random.Generator, n: int) -> Columns:
    return {
        "double": rng.normal(size=n),
        "single": rng.normal(size=n).astype(np.float32),
        "half": pa.array(rng.normal(size=n).astype(np.float16)),
        "decimal": pa.array(
            [decimal.Decimal(int(cents)).scaleb(-2) for cents in rng.integers(0, 10**6, n)], pa.decimal128(12, 2)
        ),
        "whole": np.floor(rng.normal(0, 3, n)),
    }


@_odd
def integers(rng: np.random.Generator, n: int) -> Columns:
    """Integers: few values, many, unsigned above 2⁶³, above 2⁵³ and close to one another, categoricals of them."""
    return {
        "small": pa.array(rng.integers(0, 7, n), pa.int8()),
        "wide": rng.integers(-(10**6), 10**6, n) // 700,
        "unsigned": pa.array(rng.integers(2**63, 2**63 + 500, n, dtype=np.uint64) * 1),
        "large": 2**53 + rng.integers(0, 40, n),
        "categorical": pa.array(rng.integers(0, 5, n)).dictionary_encode(),
    }


@_odd
def texts(rng: np.random.Generator, n: int) -> Columns:
    """Texts of all Arrow kinds, Zipf categories, special words as values, empty text, all scripts."""
    words = np.array(["other", "null", "", "NaN", "Ünïcødé", "日本", "a b", "x=y", "true"])
    zipf = np.minimum(rng.zipf(1.3, n), 3000).astype(str)
    return {
        "text": pa.array(words[rng.integers(0, len(words), n)]),
        "large_text": pa.array(words[rng.integers(0, 3, n)], pa.large_string()),
        "view": pa.array(words[rng.integers(0, 4, n)].tolist(), pa.string_view()),
        "categorical": pa.array(words[rng.integers(0, 5, n)]).dictionary_encode(),
        "zipf": pa.array(zipf),
        "often_different": pa.array([f"u{value}" for value in rng.integers(0, n // 2, n)]),
    }


@_odd
def moments(rng: np.random.Generator, n: int) -> Columns:
    at = START_S * 1000 + np.sort(rng.integers(0, 40 * 86_400_000, n))
    return {
        "at": pa.array(at, pa.timestamp("ms", "UTC")),
        "booked": nulled(rng, pa.array(at * 10**6 - rng.integers(0, 10**16, n), pa.timestamp("ns")), 0.1),
        "local": pa.array(at - rng.integers(0, 10**8, n), pa.timestamp("ms", "America/New_York")),
        "born": pa.array(rng.integers(0, 15_000, n).astype(np.int32), pa.date32()),
        "day": pa.array((at // 86_400_000 * 86_400_000), pa.date64()),
        "lasted": pa.array(rng.integers(0, 10**9, n), pa.duration("us")),
        "o_clock": pa.array(rng.integers(0, 86_400, n).astype(np.int32), pa.time32("s")),
        "weekday": pa.array((at // 86_400_000 % 7).astype(np.int8)),
    }


@_odd
def nulls(rng: np.random.Generator, n: int) -> Columns:
    return {
        "float": nulled(rng, pa.array(rng.normal(size=n)), 0.3),
        "int": nulled(rng, pa.array(rng.integers(0, 9, n)), 0.6),
        "bool": nulled(rng, pa.array(rng.random(n) < 0.2), 0.5),
        "text": nulled(rng, pa.array(np.array(["a", "b"])[rng.integers(0, 2, n)]), 0.9),
        "categorical": nulled(rng, pa.array(np.array(["a", "b"])[rng.integers(0, 2, n)]), 0.1).dictionary_encode(),
        "no_type": pa.nulls(n),
        "no_float": pa.nulls(n, pa.float64()),
        "no_text": pa.nulls(n, pa.string()),
        "no_bool": pa.nulls(n, pa.bool_()),
    }


@_odd
def constants(rng: np.random.Generator, n: int) -> Columns:
    return {
        "zero": np.zeros(n),
        "tenth": np.full(n, 0.1),
        "seven": np.full(n, 7),
        "huge": np.full(n, 1e300),
        "always": np.full(n, True),
        "never": np.full(n, False),
        "word": pa.array(["same"] * n),
        "now_and_then": nulled(rng, pa.array(np.full(n, 3.5)), 0.5),
    }


@_odd
def point_masses(rng: np.random.Generator, n: int) -> Columns:
    rain = np.where(rng.random(n) < 0.8, 0.0, rng.exponential(size=n))
    capped = np.minimum(rng.exponential(100, n), 99.99)
    steps = np.round(rng.normal(20, 5, n), 1)
    return {
        "rain": rain,
        "capped": capped,
        "steps": steps,
        "steps_single": steps.astype(np.float32),
        "two_values": np.where(rng.random(n) < 0.999, 0.1, 0.2),
        "neighbours": np.nextafter(1.0, 2.0) * np.where(rng.random(n) < 0.5, 1.0, 1 + 1e-15),
    }


@_odd
def heavy_tails(rng: np.random.Generator, n: int) -> Columns:
    """Distributions without a mean, the largest and smallest doubles, values that 32-bit floats cannot tell apart."""
    edge = rng.normal(size=n)
    edge[:2] = np.finfo(np.float64).max, -np.finfo(np.float64).max
    tiny = rng.random(n) * 5e-324 * 1000
    return {
        "cauchy": rng.standard_cauchy(n),
        "pareto": rng.pareto(0.3, n),
        "lognormal": rng.lognormal(0, 8, n),
        "edge_of_doubles": edge,
        "denormal": tiny,
        "epoch_seconds": START_S + rng.random(n) * 600,
    }


@_odd
def strange_numbers(rng: np.random.Generator, n: int) -> Columns:
    """NaN, infinities and nulls in one column, and columns of NaN or infinity only."""
    values = rng.normal(size=n)
    values[: n // 10] = np.nan
    values[n // 10 : n // 8] = np.inf
    values[n // 8 : n // 7] = -np.inf
    return {
        "mixed": nulled(rng, pa.array(values), 0.1),
        "nan_alone": np.full(n, np.nan),
        "inf_alone": np.full(n, np.inf),
        "minus_zero": np.where(rng.random(n) < 0.5, 0.0, -0.0),
        "fine": rng.normal(size=n),
    }


@_odd
def ids(rng: np.random.Generator, n: int) -> Columns:
    """Ids of several kinds, which are ignored, and a field that is not."""
    return {
        "counter": np.arange(10**6, 10**6 + n),
        "snowflake": 2**60 + np.arange(n),
        "hash": pa.array(rng.integers(0, 2**63, n, dtype=np.uint64) * np.uint64(2)),
        "uuid": pa.array([f"{value:032x}" for value in rng.integers(0, 2**62, n)]),
        "user": pa.array([f"user-{value}" for value in rng.integers(0, n // 5, n)]),
        "amount": rng.exponential(30, n),
    }


@_odd
def nested(rng: np.random.Generator, n: int) -> Columns:
    """Lists, structs, maps and bytes, which are ignored; a flat column has the path of a struct member."""
    return {
        "list": pa.array([[1, 2]] * n),
        "a": pa.array([{"b": 1}] * n),
        "a.b": rng.normal(size=n),
        "map": pa.array([[("k", 1)]] * n, pa.map_(pa.string(), pa.int64())),
        "bytes": pa.array([b"\xff"] * n),
        "fixed": pa.array([b"1234"] * n, pa.binary(4)),
        "kept": rng.normal(size=n),
    }


@_odd
def odd_names(rng: np.random.Generator, n: int) -> Columns:
    """Names with quotes, spaces, dots, other scripts, YAML syntax, and names of outputs."""
    names = (
        *("with space", "with.dot", 'with "quotes"', "it's", "ключ", "日本語", "- dash: colon", "# hash"),
        *("yes", "null"),
        *("1e5", "{brace}", "[bold]red[/bold]", "a=b", "$var", "score", "class", "latency_ms", "features.score"),
        *("all", "", "tab\there", "x" * 300),
    )
    return {name: rng.normal(size=n) for name in names}


@_odd
def one_row(rng: np.random.Generator, n: int) -> Columns:
    return {"number": [1.5], "text": ["a"], "flag": [True], "nothing": pa.nulls(1)}


@_odd
def outputs(rng: np.random.Generator, n: int) -> Columns:
    """Outputs and label of a binary model, and slices, one of them with rare values."""
    country = np.array(["DE", "FR", "US", "other", ""])[rng.integers(0, 5, n)]
    at = START_S + np.sort(rng.integers(0, 60 * 86_400, n))
    logit = rng.normal(size=n)
    return {
        "at": at,
        "x": logit + rng.normal(size=n),
        "country": pa.array(country),
        "store": np.minimum(rng.zipf(1.5, n), 500),
        "mobile": rng.random(n) < 0.6,
        "p": 1 / (1 + np.exp(-logit)),
        "decision": pa.array(np.where(logit > 0, "late", "on time")),
        "ms": rng.lognormal(2, 1, n),
        "late": (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(np.int64),
    }


@_odd
def many_classes(rng: np.random.Generator, n: int) -> Columns:
    """A multi-class model with one probability per class, some null or NaN, and crossed slices."""
    shares = rng.dirichlet((2.0, 1.0, 0.5), n)
    cat, dog, fish = (shares[:, i].copy() for i in range(3))
    dog[rng.random(n) < 0.02] = np.nan
    none = rng.random(n) < 0.05
    origin = np.array(["JFK", "LGA", "EWR", "J * K", "other"])[rng.integers(0, 5, n)]
    classes = np.array(["cat", "dog", "o'fish"])
    return {
        "at": START_S + np.sort(rng.integers(0, 30 * 86_400, n)),
        "origin": nulled(rng, pa.array(origin), 0.05),
        "carrier": pa.array(np.minimum(rng.zipf(1.7, n), 30).astype(str)).dictionary_encode(),
        "seats": rng.integers(0, 3, n),
        "scores.cat": pa.array(cat, mask=none),
        "scores.dog": pa.array(dog, mask=none),
        "scores.o'fish": pa.array(fish.astype(np.float32), mask=none),
        "scores.note": pa.array(["no number"] * n),
        "decision": pa.array(classes[shares.argmax(axis=1)]),
        "truth": pa.array(np.append(classes, "bird")[rng.integers(0, 4, n)]),
    }


ROLES: dict[str, dict[str, Any]] = {
    "moments": {"time": "at", "slices": ("weekday",)},
    "outputs": {
        "time": "at",
        "score": "p",
        "class_": "decision",
        "latency": "ms",
        "label": "late",
        "slices": ("country", "store", "mobile"),
    },
    "texts": {"slices": ("text", "zipf")},
    "nulls": {"slices": ("bool", "int")},
    "ids": {"slices": ("user",)},
    "many_classes": {
        "time": "at",
        "class_": "decision",
        "label": "truth",
        "slices": ("carrier", "origin * carrier", "seats * origin * carrier"),
    },
}


def odd_table(name: str, seed: int = 7, rows: int = ROWS) -> pa.Table:
    return ODD_TABLES[name](np.random.default_rng(seed), rows)
