"""`barograph report`: one week of one model for people who do not open Grafana."""
