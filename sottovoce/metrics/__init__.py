"""Scores, statistics, clusters and rankings: NumPy in, NumPy out, nothing of the project above them."""
