"""The detection panel, one small controller for each topic.

``widget`` puts the controllers together, ``run.detection_runner`` runs scans one after the other in a worker process.
"""
