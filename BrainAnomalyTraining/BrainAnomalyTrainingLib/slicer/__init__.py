"""The training panel of 3D Slicer: it starts the commands of this library as processes of their own and watches them.

Nothing here trains. ``started_command``, ``run_state``, ``child_process`` and ``run_monitor`` are plain Python; the
other files may import slicer, qt, ctk and vtk.
"""
