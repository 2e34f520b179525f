"""Shell completion: the words that may follow on a command line. Imports nothing heavy."""
