"""Every flag of every command, once."""
