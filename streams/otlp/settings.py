"""Settings of the OTLP receiver."""

from dataclasses import dataclass
from typing import Annotated, Literal

from barograph.contract.kinds import ChoiceKind, IntegerKind, NumberKind, TextKind

from barograph_server.streams.errors import ProcessorError
from barograph_server.warehouse.configuration import Setting

SERVICE_NAME = "service.name"
WAIT_S = 5.0
"""Longest wait for parents: exporters send every five seconds, and nested calls end at nearly the same time. The answer
to a request waits as long, and exporters give up after ten seconds."""
Encoding = Literal["protobuf", "json"]
DEFAULT_PORT = 4318
"""The port of OTLP over HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpSettings:
    """The section `otlp`, which every part of the receiver gets whole."""

    host: Annotated[
        str, Setting(TextKind(), "host that `barograph run otlp` listens on for exports; it has no authentication")
    ] = "127.0.0.1"
    port: Annotated[int, Setting(IntegerKind(0, 65_535), "its port; 0 for any free port")] = DEFAULT_PORT
    grpc_port: Annotated[int, Setting(IntegerKind(0, 65_535), "port of OTLP over gRPC; 0 turns it off")] = 4317
    names: Annotated[
        str,
        Setting(
            TextKind(),
            "further host names under which exporters reach it, separated by commas; `localhost`, the name in "
            "`otlp.host` and IP addresses need no entry",
        ),
    ] = ""
    model_attribute: Annotated[
        str, Setting(TextKind(), "attribute of the resource that names the application, which becomes the model")
    ] = SERVICE_NAME
    models: Annotated[
        str,
        Setting(
            TextKind(),
            "names of applications whose model has another name: `APPLICATION=MODEL, …`; `APPLICATION/embeddings`, "
            "`…/images` and `…/audio` name the models of such calls, without which they are not published",
        ),
    ] = ""
    version: Annotated[
        Literal["response", "request"],
        Setting(
            ChoiceKind(("response", "request")),
            "which model is a prediction's version: that of the response, or that of the request",
        ),
    ] = "response"
    wait_s: Annotated[
        float,
        Setting(
            NumberKind(0.0, 300.0),
            "longest wait of a model call for the spans around it, and of its exporter for the answer, in seconds",
        ),
    ] = WAIT_S
    topics: Annotated[
        str,
        Setting(
            TextKind(),
            "topics that the OpenTelemetry Collector's Kafka exporter writes, with their encodings: "
            "`otlp.traces=protobuf, other=json`; with it, nothing is received over HTTP",
        ),
    ] = ""

    def encodings(self) -> dict[str, Encoding]:
        """Return the encoding of each topic."""
        encodings: dict[str, Encoding] = {}
        for topic, encoding in _pairs("otlp.topics", "TOPIC=ENCODING", self.topics).items():
            if encoding not in ("protobuf", "json"):
                raise ProcessorError(f"otlp.topics: the encoding of {topic} is {encoding!r}; write protobuf or json.")
            encodings[topic] = "json" if encoding == "json" else "protobuf"
        return encodings

    def model_names(self) -> dict[str, str]:
        """Return the name of the model of each application whose telemetry has another name."""
        return _pairs("otlp.models", "APPLICATION=MODEL", self.models)


def _pairs(key: str, form: str, text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        name, equals, value = map(str.strip, entry.partition("="))
        if not (name and equals and value):
            raise ProcessorError(f"{key}: {entry!r} is no entry; write {form}, and commas between entries.")
        pairs[name] = value
    return pairs
