"""Measure a backbone by classifiers on its frozen features."""

from __future__ import annotations

import dataclasses

from cvkit.commands.printing import print_json
from cvkit.console import Reporter, number, print_table
from cvkit.options.pretrain import Probe


def probe(options: Probe) -> int:
    """Print the metrics of a linear classifier and of nearest neighbours."""
    from cvkit.engine import runtime
    from cvkit.tasks.pretrain.probing import probe as measure

    report = Reporter(options.quiet)
    with runtime.stop_signals() as stop:
        found = measure(options, report, stop)
    if options.json:
        about = {"command": "probe", "pretrained": options.pretrained}
        print_json(about | dataclasses.asdict(found))
        return 0
    rows = [[name, number(found.linear[name]), number(found.knn[name])] for name in found.linear]
    title = f"{found.backbone}, {options.pretrained or 'random weights'}"
    print_table(title, ["metric", "linear", f"{options.neighbors} neighbours"], rows)
    return 0
