from pathlib import Path

import pytest

from local.child_process import LocalStackError
from local.stack import LocalStack, StackAddresses, default_root


def test_the_root_is_the_environments_or_in_the_current_folder() -> None:
    assert default_root({"BAROGRAPH_HOME": "/data/barograph"}) == Path("/data/barograph")
    assert default_root({}) == default_root({"BAROGRAPH_HOME": ""}) == Path.cwd() / ".barograph"


def test_an_address_makes_a_url() -> None:
    assert StackAddresses("127.0.0.1:29092", 28123, {}).clickhouse_url == "http://127.0.0.1:28123"


def test_a_stack_that_was_not_started_has_no_address() -> None:
    stack = LocalStack(Path("/nowhere"))
    with pytest.raises(LocalStackError, match="The local Kafka has no address yet; start it first"):
        _ = stack.addresses
    with pytest.raises(LocalStackError, match="The local ClickHouse has no address yet"):
        _ = stack.clickhouse.url
