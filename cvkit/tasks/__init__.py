"""The tasks: each with its data, head, loss and metric."""
