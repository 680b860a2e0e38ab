"""The arms of an A/B test, which the training data does not contain."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from barograph.contract import Arms, Slice

from barograph_server.cli.infer import parse_arms
from barograph_server.profiling.infer import InferOptions, OptionError, Roles, infer_file
from barograph_server.sketches.baseline.baseline import SliceValues
from barograph_server.sketches.baseline.bins import PsiBins
from barograph_server.sketches.baseline.fit import fit_problems
from barograph_server.sketches.baseline.layout import Layout

SHARES = {"a": 0.75, "b": 0.25}


@pytest.fixture
def train(tmp_path: Path) -> Path:
    generator = np.random.default_rng(5)
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table({"x": generator.normal(size=500), "p": generator.random(500)}), path)
    return path


def test_arms_become_a_slice_that_is_compared_with_all(train: Path) -> None:
    arms = Arms(shares=SHARES, unit="context.user")
    result = infer_file(InferOptions(table=train, model="m", version="1", roles=Roles(score="p"), arms=arms))
    assert result.contract.arms == arms
    assert result.contract.slices == (Slice(name="arm", source="arm", values=("a", "b"), sketches=("score",)),)
    assert result.baseline.dimensions == (SliceValues(name="arm", source="arm", values=("a", "b"), trained=False),)
    assert fit_problems(result.contract, result.baseline) == []
    layout = Layout(result.baseline)
    assert layout.slices == ("all", "arm=a", "arm=b", "arm=other")
    bins = PsiBins(layout)
    per_slice = {layout.slices[s]: bins.base_bins[bins.starts[g]] for g, s in enumerate(bins.slice_index)}
    assert per_slice["arm=a"] == per_slice["all"]


def test_wrong_arms_are_rejected(train: Path) -> None:
    assert parse_arms(["a=0.75", "b=0.25"], None) == Arms(shares=SHARES)
    assert parse_arms([], None) is None
    for texts, unit in ((["a"], None), (["=0.5"], None), (["a=half"], None), ([], "context.user")):
        with pytest.raises(OptionError):
            parse_arms(texts, unit)
    with pytest.raises(OptionError, match=r"the shares sum to 0\.9; write shares that sum to 1"):
        infer_file(InferOptions(table=train, model="m", version="1", arms=Arms(shares={"a": 0.5, "b": 0.4})))
