"""The trainer: batches by seed and step, augmentation, checkpoints, devices."""
