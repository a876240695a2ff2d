"""Detectors that anything else must beat: no network."""
