"""Hlynr: train, watch, judge and promote a policy for a simulated pursuit."""

__version__ = "0.1.0"
