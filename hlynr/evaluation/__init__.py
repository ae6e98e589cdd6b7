"""Evaluation of any `Policy`, a guidance law or a network alike."""
