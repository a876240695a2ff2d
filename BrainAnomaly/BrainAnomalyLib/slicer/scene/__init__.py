"""Results in the MRML scene: volumes, segmentation, tables and plots, saved and read back."""
