"""What makes each task itself: its data, head, loss and metric."""
