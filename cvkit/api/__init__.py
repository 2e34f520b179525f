"""What Python programs use; `cvkit.load`, `cvkit.train` and `cvkit.evaluate` lead here."""
