"""Prefect flows: order, retries and artifacts around `hlynr.pipeline`; never a decision."""
