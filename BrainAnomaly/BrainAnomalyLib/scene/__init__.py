"""The Slicer door: the only package that may import slicer, vtk, qt or ctk."""
