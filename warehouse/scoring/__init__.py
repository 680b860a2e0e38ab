"""SQL of the scorer: ClickHouse joins labels to predictions and counts them.

`rules` has the scoring rules of a model, `new_rows` finds new rows and assigns labels to the hours of their
predictions, `label_join` is the join, `cell_counts` counts its rows, `state` stores the counts, and `results` stores
the metrics.
"""
