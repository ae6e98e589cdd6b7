"""The checks of a diagnosis: each looks at one thing and returns a `hlynr.records.diagnosis.Finding`."""
