from collections.abc import Callable, Iterator

import pytest

from barograph_server.streams.evaluator.judges.rubric import Rubric, parse_rubric
from tests.support.judge_server import Answer, JudgeServer

TEXT = """
rubric: 1
name: faithful
question: Does the answer state only what the context supports?
scale:
  faulty: It states something else.
  sound: It does.
inputs: [answer, context, prompt]
"""


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], JudgeServer]]:
    servers: list[JudgeServer] = []

    def start(answer: Answer) -> JudgeServer:
        servers.append(JudgeServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def rubric() -> Rubric:
    return parse_rubric(TEXT, "faithful.yaml")
