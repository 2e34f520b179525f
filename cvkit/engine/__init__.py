"""The three loops (train, evaluate, predict) and their parts; independent of the tasks."""
