"""The report of an evaluation as one page; see `cvkit.reporting.page`."""
