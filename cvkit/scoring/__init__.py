"""Files of predictions against truths, for every task. Nothing here imports torch."""
