"""Studies of many trainings: stability, hyperparameter search, benchmark."""
