"""The simulation: N engagements at a time, numpy and numba only."""
