"""Start-up: `cvkit --help` against a bare script that imports typer and rich.

The legs alternate; the medians and their ratio are printed.

    python benchmarks/help_time.py [ROUNDS]
"""

import statistics
import subprocess
import sys
import time

LEGS = {
    "import typer, rich": [sys.executable, "-c", "import typer, rich"],
    "cvkit --help": [sys.executable, "-m", "cvkit", "--help"],
    "cvkit segment train --help": [sys.executable, "-m", "cvkit", "segment", "train", "--help"],
}


def main() -> None:
    """Alternate the legs and print medians and ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    times = {leg: [] for leg in LEGS}
    for _ in range(rounds):
        for leg, command in LEGS.items():
            start = time.perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            times[leg].append(time.perf_counter() - start)
    bare = statistics.median(times["import typer, rich"])
    for leg, values in times.items():
        middle = statistics.median(values)
        print(f"{leg:28} {middle:.3f} s, ratio {middle / bare:.2f}")


if __name__ == "__main__":
    main()
