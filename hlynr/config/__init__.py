"""params.yaml as typed, frozen sections."""
