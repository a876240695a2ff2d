"""The door to 3D Slicer: the scene and the panel. Only here may slicer, vtk, qt or ctk be imported."""
