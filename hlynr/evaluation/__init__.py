"""Judging: takes any `Policy`, a guidance law or a network alike."""
