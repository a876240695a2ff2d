"""The detectors that come with a trained package and are the program's choice."""
