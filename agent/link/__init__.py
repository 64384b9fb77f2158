"""The device's way to the fleet: MQTT, the outbox, reported state, and the broker as a source of bytes.

Nothing here decides what is served, and nothing that goes wrong here reaches what does.
"""
