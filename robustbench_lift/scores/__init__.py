"""Predictions -> numbers: pure functions of the cells of a run."""
