"""Comparisons of two samples of production traffic: versions and the arms of an A/B test."""
