"""Many scans: which ones, run by workers, resumed, tabled and looked through."""
