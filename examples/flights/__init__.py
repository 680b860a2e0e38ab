"""Delays of real flights: the model, the traffic and the labels of the demo.

`data` reads the flights of 2013 out of New York, `features` makes one row per flight as known at its scheduled
departure, `model` learns from June and July whether a flight arrives late, and `replay` writes the three files that
`barograph infer` and `barograph load` read.
"""
