"""The three loops (train, evaluate, predict) and what they need; knows no task."""
