"""BrainAnomaly engine: from a brain scan to findings, with no knowledge of 3D Slicer.

Importing this package imports neither torch nor SimpleITK; the modules inside import what they need.
For research, not for diagnosis.
"""

__version__ = "0.1.0"
