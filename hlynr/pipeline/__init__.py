"""The steps of a retraining and the other use cases."""
