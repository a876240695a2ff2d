"""The run folder: the only thing that a panel and a training share."""
