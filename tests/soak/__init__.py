"""Many retrainings one after another under `hlynr up`, and what grows with them."""
