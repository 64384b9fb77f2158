"""The words on the wires: the local query protocol, and what travels over MQTT. No socket is touched here."""
