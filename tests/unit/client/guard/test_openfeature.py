"""Guards behind OpenFeature's own client."""

import queue
from collections.abc import Iterator

import pytest
from barograph.guard.openfeature import GuardProvider
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from tests.unit.client.guard.guards import REASON, ManualReader, health_record, open_guard


@pytest.fixture
def flags() -> Iterator[tuple[OpenFeatureClient, ManualReader]]:
    guard, reader = open_guard()
    api.set_provider(GuardProvider([guard]))
    yield api.get_client(), reader
    api.clear_providers()
    guard.close()


def test_a_flag_follows_the_state(flags: tuple[OpenFeatureClient, ManualReader]) -> None:
    client, reader = flags
    changes: queue.SimpleQueue[EventDetails] = queue.SimpleQueue()
    client.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, changes.put)
    assert client.get_boolean_value("m.uses_primary", False)
    assert client.get_boolean_details("m.uses_primary", False).reason == Reason.STALE
    reader.receive(health_record("degraded", reasons=(REASON,)), True)
    details = client.get_boolean_details("m.uses_primary", True)
    assert (details.value, details.variant, details.reason) == (False, "degraded", Reason.DEFAULT)
    assert details.flag_metadata == {"state": "degraded", "reasons": "psi-major temp"}
    assert client.get_string_value("m.state", "?") == "degraded"
    assert changes.get(timeout=30).flags_changed == ["m.uses_primary", "m.state"]


def test_other_flags_give_the_default_and_an_error(flags: tuple[OpenFeatureClient, ManualReader]) -> None:
    client, _ = flags
    missing = client.get_boolean_details("other.uses_primary", True)
    assert (missing.value, missing.error_code) == (True, ErrorCode.FLAG_NOT_FOUND)
    for details in (
        client.get_boolean_details("m.state", True),
        client.get_string_details("m.uses_primary", "x"),
        client.get_integer_details("m.state", 1),
        client.get_float_details("m.state", 1.5),
        client.get_object_details("m.state", {}),
    ):
        assert details.error_code == ErrorCode.TYPE_MISMATCH
        assert details.value in (True, "x", 1, 1.5, {})
