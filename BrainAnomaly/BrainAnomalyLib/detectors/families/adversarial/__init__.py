"""Families with a discriminator or critic: GANs and adversarial autoencoders."""
