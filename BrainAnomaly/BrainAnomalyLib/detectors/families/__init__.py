"""The papers' families of trained detectors, by kind."""
