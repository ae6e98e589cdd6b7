"""The search of hyperparameters: an Optuna study whose trials are trainings, its winner confirmed on fresh seeds."""
