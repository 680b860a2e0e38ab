"""The client of Barograph: contract, events, publisher."""
