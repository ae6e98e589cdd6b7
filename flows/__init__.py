"""Prefect flows: order, retries and artifacts around `hlynr.pipeline.steps`; never a decision."""
