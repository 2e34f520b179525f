"""`python -m cvkit` and the `cvkit` command."""

import sys

from cvkit.early import answer_signals, failure_json, how_to_talk
from cvkit.errors import MachineError


def main() -> None:
    """Run the command line; signals are answered from here on."""
    answer_signals(sys.argv[1:])
    try:
        from cvkit.cli import main as run
    except ImportError as error:
        failure = MachineError(
            f"cvkit cannot start: {error}", code="machine.import", hint="install it again"
        )
        if how_to_talk(sys.argv[1:])["json"]:
            print(failure_json(failure))
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(failure.exit_code)
    run()


if __name__ == "__main__":
    main()
