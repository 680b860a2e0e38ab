"""What the demo found: a module for each of the four signals, one for the season, one for the pager.

Each has a class of findings, `read_…` that asks ClickHouse, `tell_…` that prints them with the SQL that shows them, and
`expect_…` that holds them to what is known of these flights.
"""
