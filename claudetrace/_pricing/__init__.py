"""What a response costs: dated rates, and the rules that turn a usage object into an exact amount."""
