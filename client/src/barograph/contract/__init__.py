"""The contract of one model. This package exports the frozen objects; `barograph.contract.file` reads the YAML file."""

from barograph.contract.model import (
    CROSS,
    SECONDS_PER_HOUR,
    Arms,
    Contract,
    Field,
    FieldType,
    LabelSpec,
    RateThresholds,
    SketchKind,
    Slice,
    Slo,
    Thresholds,
    Window,
    content_hash,
    format_duration,
    parse_duration,
)

__all__ = [
    "CROSS",
    "SECONDS_PER_HOUR",
    "Arms",
    "Contract",
    "Field",
    "FieldType",
    "LabelSpec",
    "RateThresholds",
    "SketchKind",
    "Slice",
    "Slo",
    "Thresholds",
    "Window",
    "content_hash",
    "format_duration",
    "parse_duration",
]
