"""The life of an update: plan, fetch, stage, self-test, trial, verdict. DESIGN of the states: docs/architecture.md."""
