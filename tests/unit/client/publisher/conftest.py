from collections.abc import Iterator

import pytest
from barograph import Contract
from barograph.contract import Field

from tests.support.scripted_kafka import ScriptedPublisher

CONTRACT = Contract(model="m", fields=(Field(name="x", type="float", source="features.x"),))


@pytest.fixture
def serving() -> Iterator[ScriptedPublisher]:
    scripted = ScriptedPublisher(CONTRACT)
    yield scripted
    scripted.publisher.close()


@pytest.fixture
def batch_job() -> Iterator[ScriptedPublisher]:
    scripted = ScriptedPublisher(CONTRACT, wait=True)
    yield scripted
    scripted.script.produce_error = None
    scripted.outbox._wait = False
    scripted.publisher.close()
