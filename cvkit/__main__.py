"""`python -m cvkit` and the `cvkit` command."""

import sys

from cvkit.early import answer_signals, how_to_talk, open_streams, print_failure
from cvkit.errors import MachineError


def main() -> None:
    """Run the command line; signals are handled from here on."""
    open_streams()
    answer_signals(sys.argv[1:])
    try:
        from cvkit.cli import main as run
    except ImportError as error:
        failure = MachineError(
            f"cvkit cannot start: {error}", code="machine.import", hint="install it again"
        )
        print_failure(failure, how_to_talk(sys.argv[1:])["json"])
        sys.exit(failure.exit_code)
    run()


if __name__ == "__main__":
    main()
