"""Datasets as files: a writer per format, named in its row of `cvkit.format_table`."""
