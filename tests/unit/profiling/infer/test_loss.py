"""Trees of the expected error: estimates follow features that predictions do not show."""

from __future__ import annotations

import sys

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from barograph_server.batch.compare.compare import compare
from barograph_server.profiling.infer.loss import MISSING
from barograph_server.profiling.infer.training import infer
from barograph_server.sketches.baseline.baseline import BaselineError, dump_baseline, load_baseline


def rows(seed: int, share: float, n: int = 6_000) -> pa.Table:
    """Predictions that do not depend on `road`, whose errors are three times as large on ice."""
    rng = np.random.default_rng(seed)
    ice = rng.random(n) < share
    p, noise, speed = rng.normal(100, 10, n), rng.normal(size=n), rng.exponential(size=n)
    error = noise * np.where(ice, 3.0, 1.0) * (1 + speed)
    at = pa.array(1_767_571_200_000 + np.arange(n) * 240_000).cast(pa.timestamp("ms"))
    return pa.table({"at": at, "road": np.where(ice, "ice", "dry"), "speed": speed, "p": p, "y": p - error})


def test_an_estimate_follows_features_while_predictions_stay() -> None:
    train, later = rows(1, 0.1), rows(2, 0.6)
    report = compare(train, later.drop_columns("y"), multivariate=False, score="p", label="y")
    estimates = {each.metric: each for each in report.performance}
    errors = later["p"].to_numpy() - later["y"].to_numpy()
    for name, value in {"mae": np.abs(errors).mean(), "rmse": np.sqrt((errors**2).mean())}.items():
        assert estimates[name].estimate == pytest.approx(value, rel=0.08)
        assert value > 1.6 * estimates[name].training
        assert np.isnan(estimates[name].estimate_low)
    assert "nan" not in compare(train, later, time="at", by="week", multivariate=False, score="p", label="y").to_html()
    # Estimates of rows like those of training are not smaller than their errors, as the trees know these rows.
    usual = compare(train, rows(3, 0.1).drop_columns("y"), multivariate=False, score="p", label="y")
    [mae] = [each for each in usual.performance if each.metric == "mae"]
    assert mae.estimate == pytest.approx(mae.training, rel=0.05)


def test_a_baseline_has_valid_trees_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    result = infer(rows(1, 0.1), model="m", version="1", score="p", label="y")
    trees = result.baseline.loss
    assert trees is not None
    assert {each.source for each in trees.features} >= {"features.road", "features.speed"}
    assert "errors are estimated from" in next(each.reason for each in result.decisions if each.type == "label")
    assert load_baseline(dump_baseline(result.baseline), "b") == result.baseline
    inner = next(i for i, split in enumerate(trees.split) if split >= 0)
    for right in (0, inner, inner + 1, len(trees.split)):
        wrong = msgspec.structs.replace(trees, right=(*trees.right[:inner], right, *trees.right[inner + 1 :]))
        with pytest.raises(BaselineError, match="does not exist"):
            dump_baseline(msgspec.structs.replace(result.baseline, loss=wrong))
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    without = infer(rows(1, 0.1), model="m", version="1", score="p", label="y")
    assert without.baseline.loss is None
    assert MISSING in without.warnings
