"""Grafana dashboards as code. Queries live in `warehouse/panels/`; variables, panels and layout live here.

`make generate` writes the JSON of the pages. docs/dashboards.md says which question each page
answers.
"""
