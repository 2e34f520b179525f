"""`python -m cvkit` and the `cvkit` command."""

from cvkit.cli import main

if __name__ == "__main__":
    main()
