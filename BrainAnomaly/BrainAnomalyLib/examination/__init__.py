"""Several contrasts of one session as one examination: registered, detected in each, one map, one list."""
