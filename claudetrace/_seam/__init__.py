"""Where the anthropic SDK is observed: two methods of its base clients, and the body of each response."""
