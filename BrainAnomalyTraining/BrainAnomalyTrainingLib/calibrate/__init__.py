"""Held-out healthy scans say what a map's numbers mean: thresholds, residual statistics, the guard's bank."""
