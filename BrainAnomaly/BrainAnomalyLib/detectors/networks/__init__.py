"""Building blocks of networks that several families use."""
