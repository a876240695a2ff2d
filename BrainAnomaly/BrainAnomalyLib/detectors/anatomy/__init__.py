"""The anatomy model: which healthy structure belongs at every voxel, and what the scan should look like there."""
