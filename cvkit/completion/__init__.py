"""What a shell asks while a command is typed: which words may follow. Imports nothing heavy."""
