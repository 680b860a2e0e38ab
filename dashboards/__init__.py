"""Grafana dashboards as code: queries stand in `warehouse/panels/`, variables, panels and layout here."""
