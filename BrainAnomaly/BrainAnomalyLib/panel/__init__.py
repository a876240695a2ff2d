"""The detection panel of 3D Slicer, one small controller for each topic; like ``scene`` it may import qt, ctk, slicer.

``widget`` puts the controllers together, ``detection_runner`` runs scans one after the other in a worker process.
"""
