"""Comparison of the sketcher with its peers; the program of each peer has its own folder and environment."""
