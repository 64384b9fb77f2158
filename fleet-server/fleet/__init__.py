"""The operator's side: publishes signed releases and rolls them out over a fleet."""
