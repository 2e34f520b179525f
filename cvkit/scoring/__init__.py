"""Scores files of predictions against ground truth, for every task. Does not import torch."""
