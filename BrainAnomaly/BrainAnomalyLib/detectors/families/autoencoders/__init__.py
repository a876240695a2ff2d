"""Autoencoders whose narrow code leaves lesions out."""
