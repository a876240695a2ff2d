"""How the brain mask network is trained: synthetic heads from label maps, and the training."""
