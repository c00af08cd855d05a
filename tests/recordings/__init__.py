"""Real exchanges of the API, played to the real SDK over HTTP on loopback."""
