from pathlib import Path

import pytest

from barograph_server.local.child_process import LocalStackError
from barograph_server.local.stack import LocalStack, default_root


def test_the_root_is_the_environments_or_in_the_current_folder() -> None:
    assert default_root({"BAROGRAPH_HOME": "/data/barograph"}) == Path("/data/barograph")
    assert default_root({}) == default_root({"BAROGRAPH_HOME": ""}) == Path.cwd() / ".barograph"


def test_a_stack_that_was_not_started_has_no_address() -> None:
    with pytest.raises(LocalStackError, match="The local Kafka has no address yet; start it first"):
        _ = LocalStack(Path("/nowhere")).addresses
