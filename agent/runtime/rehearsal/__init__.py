"""A release beside its baseline on inputs that this device has really seen, in a child under limits.

It measures and decides nothing: agent/health/gate.py does. numpy is imported here, so only the child imports it.
"""
