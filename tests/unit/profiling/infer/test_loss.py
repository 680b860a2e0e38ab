"""Trees of the expected error: estimates follow features that predictions do not show."""

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
    later = rows(2, 0.6)
    errors = later["p"].to_numpy() - later["y"].to_numpy()
    # The trees know rows of training; that must not make rows like them look better.
    for seed, share, truth in ((2, 0.6, np.abs(errors).mean()), (3, 0.1, None)):
        table = rows(seed, share).drop_columns("y")
        report = compare(rows(1, 0.1), table, score="p", label="y", multivariate=False)
        mae, rmse = (next(each for each in report.performance if each.metric == name) for name in ("mae", "rmse"))
        assert mae.estimate == pytest.approx(truth or mae.training, rel=0.08)
        assert np.isnan([mae.estimate_low, rmse.estimate_high]).all()
        assert (mae.estimate > 1.5 * mae.training) == (truth is not None)
        if truth:
            assert rmse.estimate == pytest.approx(np.sqrt((errors**2).mean()), rel=0.08)
    page = compare(rows(1, 0.1), later, time="at", score="p", label="y", by="week", multivariate=False).to_html()
    assert "nan" not in page


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
