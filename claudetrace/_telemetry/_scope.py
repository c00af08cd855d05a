"""The instrumentation scope of all that claudetrace makes itself."""

SCOPE = "claudetrace"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
"""The conventions that the names of resources and general attributes are of; those of GenAI have no schema yet."""
