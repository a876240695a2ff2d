"""Grids, volumes and the files they come from: NIfTI, NRRD, MetaImage, MGZ, DICOM, and what scan names say."""
