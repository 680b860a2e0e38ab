"""Prediction of when a change of a field is detected, from the amount of traffic and its overdispersion."""
