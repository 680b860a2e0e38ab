"""Drift statistics: PSI, rates, distances, moments, and the corrections that make their levels trustworthy."""
