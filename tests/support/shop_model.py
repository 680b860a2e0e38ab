"""Three days of a shop's fraud model with known changes, for tests that ask what an analyst would ask.

Monday to Wednesday, 250 predictions an hour, but none on Tuesday from 3 to 4. From Tuesday noon on amounts in France
are larger by half, the device `watch` appears, and a tenth of the ages are null, which the contract refuses. On
Wednesday every 50th prediction fails. Nine in ten get their label one to five hours later. Arm b's scores tell less.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from barograph import Publisher
from barograph.contract import Arms, Contract, Slo, Window
from numpy.typing import NDArray

from barograph_server.profiling.infer import InferOptions, Roles, infer_file
from barograph_server.sketches.baseline.baseline import Baseline
from tests.support.pipeline import Pipeline

HOUR_S = 3600
PER_HOUR, HOURS = 250, 72
SILENT_HOUR = 27
COUNTRIES, DEVICES = ("DE", "FR", "US"), ("phone", "desktop", "watch")
ANNA = "anna"


@dataclass(frozen=True)
class Shop:
    contract: Contract
    baseline: Baseline
    start: datetime
    """Monday, 0:00 UTC."""
    table: pa.Table
    """As `Publisher.predictions` takes it."""
    labels: pa.Table
    hour: NDArray[np.int64]
    """Hours since `start`."""
    country: NDArray[np.object_]
    amount: NDArray[np.float64]
    age: NDArray[np.float64]
    """NaN where null."""
    device: NDArray[np.object_]
    arm: NDArray[np.object_]
    score: NDArray[np.float64]
    latency_ms: NDArray[np.float64]
    failed: NDArray[np.bool_]
    fraud: NDArray[np.bool_]
    labelled: NDArray[np.bool_]
    label_delay_s: NDArray[np.float64]

    @property
    def n(self) -> int:
        return len(self.hour)

    def at(self, hours: float) -> datetime:
        return self.start + timedelta(hours=hours)


def make_shop(folder: Path) -> Shop:
    rng = np.random.default_rng(20)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=today.weekday() + 14)
    contract, baseline = _learned(folder, rng)
    seconds = np.sort(rng.integers(0, HOURS * HOUR_S, PER_HOUR * HOURS))
    seconds = seconds[seconds // HOUR_S != SILENT_HOUR]
    n = len(seconds)
    hour = seconds // HOUR_S
    after = hour >= 36
    country = np.array(COUNTRIES, object)[rng.choice(3, n, p=[0.5, 0.3, 0.2])]
    amount = rng.lognormal(3, 0.5, n) * np.where(after & (country == "FR"), 1.5, 1)
    age = np.where(after & (rng.random(n) < 0.1), np.nan, rng.integers(18, 80, n).astype(float))
    device = np.array(DEVICES, object)[np.where(after & (rng.random(n) < 0.2), 2, rng.integers(0, 2, n))]
    arm = np.array(["a", "b"], object)[(rng.random(n) < 0.5).astype(int)]
    fraud, score = _outcomes(rng, n, np.where(arm == "b", 0.6, 2.0))
    latency = rng.lognormal(2, 0.5, n)
    failed = (hour >= 48) & (np.arange(n) % 50 == 0)
    labelled = (rng.random(n) < 0.9) & ~failed
    delay = rng.uniform(1, 5, n) * HOUR_S
    at_ms = (int(start.timestamp()) + seconds) * 1000
    ids = np.array([f"order-{i}" for i in range(n)], object)
    table = pa.table(
        {
            "id": ids,
            "at": at_ms,
            "arm": arm,
            "features.amount": amount,
            "features.age": pa.array(age, from_pandas=True),
            "features.country": country,
            "features.device": device,
            "score": pa.array(np.where(failed, np.nan, score), from_pandas=True),
            "latency_ms": latency,
            "error": pa.array(["Timeout" if bad else None for bad in failed.tolist()], pa.string()),
            "context.user": np.array([f"user-{i % 4000}" for i in range(n)], object),
        }
    )
    label_at = at_ms + (delay * 1000).astype(np.int64)
    order = np.argsort(label_at[labelled], kind="stable")
    labels = pa.table({"id": ids[labelled][order], "label": fraud[labelled][order], "at": label_at[labelled][order]})
    return Shop(
        contract, baseline, start, table, labels, hour, country, amount, age, device, arm, score, latency, failed,
        fraud, labelled, delay,
    )  # fmt: skip


def _outcomes(
    rng: np.random.Generator, n: int, strength: NDArray[np.float64] | float
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    logit = rng.normal(-1, 1, n) * strength
    score = 1 / (1 + np.exp(-logit))
    return rng.random(n) < score, score


def _learned(folder: Path, rng: np.random.Generator) -> tuple[Contract, Baseline]:
    n = 40_000
    fraud, score = _outcomes(rng, n, 2.0)
    train = pa.table(
        {
            "amount": rng.lognormal(3, 0.5, n),
            "age": rng.integers(18, 80, n),
            "country": np.array(COUNTRIES, object)[rng.choice(3, n, p=[0.5, 0.3, 0.2])],
            "device": np.array(DEVICES, object)[rng.integers(0, 2, n)],
            "score": score,
            "latency_ms": rng.lognormal(2, 0.5, n),
            "fraud": fraud,
        }
    )
    path = folder / "train.parquet"
    pq.write_table(train, path)
    outputs: dict[str, Any] = {"score": "score", "latency": "latency_ms", "label": "fraud"}
    roles = Roles(**outputs, slices=("country",), critical=frozenset({"amount"}))
    windows = Window(6 * HOUR_S, HOUR_S), Window(86_400, 6 * HOUR_S)
    arms = Arms(shares={"a": 0.5, "b": 0.5}, unit="context.user")
    named: dict[str, Any] = {"table": path, "model": "shop-fraud", "version": "1"}
    result = infer_file(InferOptions(**named, roles=roles, pane_s=HOUR_S, windows=windows, arms=arms))
    contract = msgspec.structs.replace(
        result.contract,
        team="payments",
        owners=(ANNA,),
        lateness_s=600,
        out_of_order_s=600,
        fields=tuple(
            msgspec.structs.replace(field, nulls="refuse") if field.name == "age" else field
            for field in result.contract.fields
        ),
        slice_min_n=100,
        slo=Slo(latency_ms=14.0, latency_share=0.9, error_rate=0.01, performance={"auc": 0.7}),
    )
    return contract, result.baseline


def run_shop(pipeline: Pipeline, shop: Shop) -> None:
    pipeline.prepare(shop.contract, [shop.baseline], source_partitions=2)
    with Publisher.from_contract(
        shop.contract, version="1", bootstrap_servers=pipeline.bootstrap, topic_prefix=pipeline.prefix, on_full="wait"
    ) as publisher:
        publisher.predictions(shop.table)
        publisher.labels(shop.labels)
        publisher.publish_end_marker()
    pipeline.start_all("sketcher", "recorder", "monitor")
    pipeline.wait_judged(shop.n)
    pipeline.wait_rows(f"SELECT count() = {shop.n} FROM predictions FINAL", "all predictions")
    pipeline.wait_rows(f"SELECT count() = {shop.labels.num_rows} FROM labels FINAL", "all labels")
    pipeline.start("scorer")
    pipeline.wait_rows(
        "SELECT count() >= 3 FROM latest_performance WHERE slice = 'all' AND metric = 'auc' AND window = '1d'",
        "the performance of three days",
    )
    # The scorer writes its status, which the views of its counts join, after the results of its first pass.
    pipeline.wait_rows("SELECT count() > 0 FROM calibration_curve", "the scorer's status")


# The worked questions of docs/queries.md, which are moved to the week of the shop.
PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
WRITTEN_MONDAY = date(2026, 11, 9)
"""The Monday of the week in the page."""
_QUESTION = re.compile(r"^### (\d+)\. (.+?)\n(.*?)^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Question(NamedTuple):
    number: int
    title: str
    sql: str

    def in_week(self, monday: date) -> str:
        shift = monday - WRITTEN_MONDAY
        return re.sub(r"\d{4}-\d\d-\d\d", lambda match: (date.fromisoformat(match[0]) + shift).isoformat(), self.sql)


def questions() -> list[Question]:
    return [Question(int(n), title, sql) for n, title, _, sql in _QUESTION.findall(PAGE.read_text("utf-8"))]
