"""Grafana dashboards as code: queries stand in `warehouse/panels/`, variables, panels and layout here.

`python -m dashboards --write` writes the JSON of the four pages; docs/dashboards.md says what each of them answers.
"""
