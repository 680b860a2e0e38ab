"""Findings of the demo: one module per signal, one for the season, one for pages.

Each has a class of findings; `read_…` reads them from ClickHouse, `report_…` prints them with their SQL, and `expect_…`
compares them with known facts about these flights.
"""
