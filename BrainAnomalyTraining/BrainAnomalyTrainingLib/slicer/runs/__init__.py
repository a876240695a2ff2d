"""A training as the panel sees it: the process, its run folder, losses and examples."""
