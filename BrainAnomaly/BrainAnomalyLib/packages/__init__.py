"""A trained model on disk: its schema, read and verified, written, packed and unpacked."""
