"""What every part of the panel uses: parameters in the scene, messages, plain words."""
