"""From a scan as it was acquired to a prepared scan in template space; every step is its own function."""
