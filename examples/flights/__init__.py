"""Delays of real flights: the model, the traffic and the labels of the demo.

`data` reads the flights that left New York in 2013, `features` builds one row per flight as known at its scheduled
departure, `model` is trained on June and July to predict late arrivals, and `replay` writes the files that `barograph
infer` and `barograph load` read.
"""
