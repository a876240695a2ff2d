"""The scan's intensities: bias field, scale, contrast, and what noise and ghosts leave."""
