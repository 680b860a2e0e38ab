"""Paired comparison of a candidate with the primary model that answers the same requests.

A difference is always candidate − primary in a quantity of which more is better: for a loss, a latency or a cost it is
primary − candidate. So a positive difference means that the candidate is better.
"""
