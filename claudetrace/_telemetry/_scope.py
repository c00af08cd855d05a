"""What all that claudetrace makes itself bears: its instrumentation scope, and the name of a record."""

SCOPE = "claudetrace"
EVENT = "claudetrace.call"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The conventions that the names of resources and general attributes are of; those of GenAI have no schema yet."""
