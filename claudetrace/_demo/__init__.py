"""A server on loopback that plays the Messages API, and the exchanges it plays."""
