"""The fleet server's HTTP door: JSON under /api/v1, the page at /."""
