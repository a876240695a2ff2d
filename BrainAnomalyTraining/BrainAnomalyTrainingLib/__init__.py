"""Training of the packages and networks that BrainAnomaly uses."""
