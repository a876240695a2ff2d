"""The Slicer door: results in the MRML scene. Only this package and ``panel`` may import slicer, vtk, qt or ctk."""
