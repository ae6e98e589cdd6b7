"""The only folder that knows MLflow, DVC and git."""
