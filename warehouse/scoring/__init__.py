"""The SQL of the scorer: labels are joined to predictions inside ClickHouse, and counted there.

`rules` holds what a model is measured by, `arrivals` finds what came and puts labels under the hours of their
predictions, `joined` is the join, `cells` counts it, `state` keeps the counts, `results` what was made of them.
"""
