"""The scorer joins labels to predictions inside ClickHouse and measures performance per window.

`rules` derives from a contract how a model is measured. `worker` is the process, `checkpoint` its progress, `model` one
model's pass. `windows` defines the windows and when they end. `measure` computes metrics from counts, `verdicts` levels
and rows of metrics. Windows are compared with `reference`, at the age of their labels that `label_delay` estimates.
"""
