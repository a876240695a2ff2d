"""The models that a user can choose from: detectors without training, embedded and own packages."""
