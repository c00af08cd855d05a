"""What Claude Code writes down of its sessions: each response of the API, with the usage that the API told."""
