"""The panel's part about runs: what is submitted, the worker process and its progress."""
