"""Errors, locks, processes and progress."""
