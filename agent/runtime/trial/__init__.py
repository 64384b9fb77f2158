"""The first load of a release, in a child under limits."""
