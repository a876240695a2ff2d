"""A trained and calibrated detector becomes a model package."""
