"""Grafana dashboards: a file per page (`model.yaml`), kinds of panels, variables, layout; queries: `warehouse/panels/`.

`make generate` writes the JSON of the pages. docs/dashboards.md says which question each page answers.
"""
