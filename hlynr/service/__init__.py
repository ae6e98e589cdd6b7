"""The service: the servers and the worker that `hlynr up` keeps running in a project."""
