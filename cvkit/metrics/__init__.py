"""Metrics; each states the rule it follows."""
