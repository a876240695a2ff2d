"""Real Slicer slice views drawn offscreen by slicer-core, for tests and for the pictures in the documentation.

What is drawn is what the application's slice views draw: MRML slice logic and displayable managers. There is no
application window around it. Needs EGL with a software renderer (Debian: libegl1 libgl1 libegl-mesa0 libgl1-mesa-dri);
the environment variable VTK_DEFAULT_OPENGL_WINDOW chooses another kind of window.
"""

from __future__ import annotations

import os

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

_MANAGERS = (
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)


class SliceViews:
    """The slice views of one scene. Make it before the nodes it is to show (segment surfaces, color nodes)."""

    def __init__(self, scene, size=(400, 400)):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        self.scene = scene
        self.size = size
        self._application = self._application_logic(scene)
        self._views = {name: _SliceView(self, name) for name in ("Axial", "Sagittal", "Coronal")}

    def show(self, background, foreground=None, opacity=0.75):
        """Choose the layers of all views."""
        for view in self._views.values():
            view.composite.SetBackgroundVolumeID(background.GetID())
            view.composite.SetForegroundVolumeID(foreground.GetID() if foreground else None)
            view.composite.SetForegroundOpacity(opacity)

    def picture(self, orientation, center_ras, field_of_view_mm=190.0):
        """RGB picture (row, column, 3; row 0 on top) of one view through ``center_ras`` (world RAS mm)."""
        view = self._views[orientation]
        view.aim(center_ras, field_of_view_mm)
        return view.draw()

    def pixel_of(self, orientation, ras):
        """(row, column) where a world RAS point lies in the last picture of that view."""
        return self._views[orientation].pixel_of(ras)

    def show_legend_only_in(self, legend, *orientations):
        """Draw a color legend in these views and in no other."""
        legend.RemoveAllViewNodeIDs()
        for orientation in orientations or ("none",):
            view = self._views.get(orientation)
            legend.AddViewNodeID(view.node.GetID() if view else orientation)
        legend.Modified()

    def application_logic(self):
        """The application logic that the views belong to."""
        return self._application

    @staticmethod
    def _application_logic(scene):
        logic = slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(scene)
        logic.GetColorLogic().SetMRMLScene(scene)
        logic.GetColorLogic().AddDefaultColorNodes()
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance().SetMRMLApplicationLogic(logic)
        return logic


class _SliceView:
    def __init__(self, views, orientation):
        self.size = views.size
        application = views.application_logic()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLScene(views.scene)
        self.logic.SetMRMLApplicationLogic(application)
        application.GetSliceLogics().AddItem(self.logic)
        self.node = self.logic.AddSliceNode(orientation)
        self.node.SetLayoutName(orientation)
        self.node.SetOrientation(orientation)
        self.composite = self.logic.GetSliceCompositeNode()
        self.logic.ResizeSliceNode(*self.size)
        self._make_window()
        self._make_managers(application)

    def aim(self, center_ras, field_of_view_mm):
        width, height = self.size
        self.node.SetFieldOfView(field_of_view_mm, field_of_view_mm * height / width, 1.0)
        self.node.JumpSliceByCentering(*center_ras)

    def draw(self):
        self.logic.UpdatePipeline()
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())
        self._window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        pixels = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
        return np.ascontiguousarray(pixels[::-1, :, :3])

    def pixel_of(self, ras):
        to_view = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), to_view)
        column, row, _, _ = to_view.MultiplyPoint((*map(float, ras), 1.0))
        return round(self.size[1] - 1 - row), round(column)

    def _make_window(self):
        # Stands for the light box manager of the application's slice widget.
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer = vtk.vtkRenderer()
        self._renderer.AddViewProp(actor)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetSize(*self.size)
        self._window.AddRenderer(self._renderer)
        interactor = vtk.vtkGenericRenderWindowInteractor()
        interactor.SetRenderWindow(self._window)
        self._interactor = interactor

    def _make_managers(self, application):
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        for name in _MANAGERS:
            manager = getattr(slicer, name)()
            manager.SetMRMLApplicationLogic(application)
            self._group.AddDisplayableManager(manager)
        self._group.SetMRMLDisplayableNode(self.node)
        self._group.GetInteractor()
