"""Every scan of a cohort prepared once, by several processes, and kept."""
