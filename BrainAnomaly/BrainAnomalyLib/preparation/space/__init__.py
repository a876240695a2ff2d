"""Template space: grids, the template, orientation, registration and how good it is."""
