"""What `claudetrace collect` is made of: records of many programs come over OTLP/HTTP, and go into one ledger."""
