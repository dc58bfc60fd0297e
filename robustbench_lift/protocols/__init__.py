"""Which cells there are, and which frames of an image a cell shows: clean, corruption, perturbation, shift."""
