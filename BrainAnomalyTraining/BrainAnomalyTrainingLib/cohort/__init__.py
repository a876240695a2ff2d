"""Which scans of a folder are healthy training scans, of which subject and contrast, and which are left out."""
