"""Where a finding lies, in a radiologist's words: side, lobe or structure, tissue, McDonald place, distances."""
