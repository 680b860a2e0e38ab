"""Prediction of when the rules of a contract page for a change of a field."""
