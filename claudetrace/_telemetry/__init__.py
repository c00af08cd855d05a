"""What OpenTelemetry is told of a call."""
