"""Every version reads the contracts, baselines and records of `partials` that releases wrote."""

from pathlib import Path

import pytest
from barograph import load_contract

from barograph_server.sketches.baseline.baseline import load_baseline
from barograph_server.streams.records import Partial, Progress, Tally, decode
from tests.support.released_data import FOLDERS, read


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_contract_and_baseline_keep_their_ids_and_records_are_read(folder: Path) -> None:
    records = [decode(message["value"]) for message in read(folder, "messages") if message["topic"] == "partials"]
    assert {type(record) for record in records} == {Partial, Tally, Progress}
    baseline = load_baseline((folder / "baseline.json").read_bytes(), "baseline.json")
    assert {record.baseline_id for record in records if isinstance(record, Partial)} == {baseline.id}
    assert load_contract(folder / "contract.yaml").id in str(read(folder, "answers"))
