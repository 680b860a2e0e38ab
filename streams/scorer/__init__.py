"""The scorer: labels joined to predictions inside ClickHouse, and performance per window.

`rules` reads from a contract what a model is measured by, `worker` is the process and its marks, `model` one model's
pass, `windows` the windows and when they have ended, `measure` makes metrics of state, `verdicts` levels and rows of
metrics, `reference` and `ages` what both are held against.
"""
