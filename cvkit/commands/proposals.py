"""Propose regions for a dataset."""

from cvkit.commands.printing import print_json
from cvkit.console import Reporter, number, print_line, table
from cvkit.errors import UsageError
from cvkit.options.detect import DetectProposals


def proposals(options: DetectProposals, task_name: str) -> int:
    """Write proposals for every image and report how well they cover the objects."""
    from cvkit.engine import runtime
    from cvkit.tasks.detect.proposals import propose_dataset

    report = Reporter(options.quiet)
    if options.out.suffix != ".npz":
        raise UsageError(
            f"--out {options.out} does not end in .npz", code="out.suffix", hint="add the suffix"
        )
    if options.out.exists() and not options.overwrite:
        raise UsageError(
            f"--out {options.out} exists", code="out.exists", hint="add --overwrite to replace it"
        )
    with runtime.stop_signals() as stop:
        found = propose_dataset(options, report, stop)
    rows = [
        [
            name,
            number(row["recall"]),
            number(row["mabo"]),
            f"{row['boxes']:.0f}",
            f"{row['images']}",
        ]
        for name, row in found.items()
    ]
    columns = ["split", "recall@0.5", "MABO", "boxes per image", "images"]
    report.show(table(f"{options.mode} selective search", columns, rows))
    if options.json:
        print_json({"task": task_name, "command": "proposals", "out": str(options.out)} | found)
    else:
        print_line(options.out)
    return 0
