"""Models x cells -> predictions: the only part that runs a network."""
