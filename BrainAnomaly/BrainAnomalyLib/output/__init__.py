"""What a finished detection becomes: a result folder, pictures, a report, DICOM."""
