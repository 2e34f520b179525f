"""Which processes work together, and starting those of this machine. Imports no torch."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from cvkit.early import command_line
from cvkit.errors import UsageError
from cvkit.options.base import Train
from cvkit.options.job import with_given
from cvkit.texts import counted

AnyTrain = TypeVar("AnyTrain", bound=Train)


@dataclass(frozen=True)
class Layout:
    """This process among those that work together.

    Attributes:
        rank: its number, from 0.
        world: their number.
        local_rank: its number among those of its machine.
        local_world: their number on each machine.
        launcher: what starts them: cvkit, torchrun or SLURM.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    launcher: str = "cvkit"

    @property
    def node(self) -> int:
        """Number of its machine, from 0."""
        return self.rank // self.local_world

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return self.world // self.local_world

    def variables(self) -> dict[str, str]:
        """Return the environment variables that say this to torch and to cvkit."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "NODE_RANK": str(self.node),
        }


class Sharing(Protocol):
    """The flags of commands that several processes can share."""

    @property
    def devices(self) -> int:
        """Processes on each machine."""

    @property
    def nodes(self) -> int:
        """Machines."""

    @property
    def given(self) -> frozenset[str]:
        """Names of the flags that were set."""


def find_layout(options: Sharing) -> Layout:
    """Return the layout that torchrun or SLURM has made, or else the one that the flags ask for.

    Raises:
        UsageError: flags and variables contradict each other, or a variable is missing.
    """
    made = _made_by_torchrun() or _made_by_slurm()
    if made is None:
        return _asked_for(options)
    for name, found in (("devices", made.local_world), ("nodes", made.nodes)):
        wanted = getattr(options, name)
        if name in options.given and wanted != found:
            what, plural, per = (
                ("process", "processes", "per machine")
                if name == "devices"
                else ("machine", "machines", "in all")
            )
            raise UsageError(
                f"--{name} {wanted}, but {made.launcher} has started "
                f"{counted(found, what, plural)} {per}",
                code=f"{name}.launcher",
                hint=f"omit --{name}",
            )
    return made


def with_layout(options: AnyTrain) -> AnyTrain:
    """Return the options with the numbers of processes and machines that there are.

    Raises:
        UsageError: flags and variables contradict each other, or a variable is missing.
    """
    layout = find_layout(options)
    if (layout.local_world, layout.nodes) == (options.devices, options.nodes):
        return options
    changed = replace(options, devices=layout.local_world, nodes=layout.nodes)
    return with_given(changed, options.given)


def _made_by_torchrun() -> Layout | None:
    if not {"RANK", "WORLD_SIZE", "LOCAL_RANK"} <= os.environ.keys():
        return None
    world = _number("WORLD_SIZE")
    local = _number("LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in os.environ else world
    layout = Layout(_number("RANK"), world, _number("LOCAL_RANK"), local, "torchrun")
    return _checked(layout, "RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE")


def _made_by_slurm() -> Layout | None:
    if os.environ.get("SLURM_NTASKS", "1") == "1" or "SLURM_PROCID" not in os.environ:
        return None
    names = ("SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    world, rank, local_rank = map(_number, names)
    nodes = _number("SLURM_NNODES") if "SLURM_NNODES" in os.environ else 1
    if nodes and world % nodes:
        raise UsageError(
            f"SLURM has started {world} tasks on {nodes} nodes; each node needs the same number",
            code="nodes.launcher",
            hint="use --ntasks-per-node",
        )
    layout = Layout(rank, world, local_rank, world // max(1, nodes), "SLURM")
    return _checked(layout, "SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID")


def _asked_for(options: Sharing) -> Layout:
    node = 0
    if options.nodes > 1:
        missing = [name for name in ("MASTER_ADDR", "NODE_RANK") if name not in os.environ]
        if missing:
            raise UsageError(
                f"--nodes {options.nodes} needs the variable {missing[0]}",
                code="nodes.variables",
                hint="start each machine's processes with torchrun or srun, or set MASTER_ADDR, "
                "MASTER_PORT and NODE_RANK on each",
            )
        node = _number("NODE_RANK")
    local = options.devices
    layout = Layout(node * local, options.nodes * local, 0, local)
    return _checked(layout, f"NODE_RANK with --nodes {options.nodes}")


def _checked(layout: Layout, names: str) -> Layout:
    fits = layout.local_world and layout.world % layout.local_world == 0
    if not fits or layout.rank >= layout.world or layout.local_rank >= layout.local_world:
        raise UsageError(
            f"the variables {names} contradict each other",
            code="nodes.variables",
            hint="leave them to torchrun or srun, or unset them",
        )
    return layout


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    if not text.isdecimal():
        raise UsageError(
            f"the variable {name} is {text!r}, not a number",
            code="nodes.variables",
            hint="leave it to torchrun or srun, or unset it",
        )
    return int(text)


def address_of_first(layout: Layout) -> tuple[str, int]:
    """Return host and port where the first process listens; the usual variables may set them.

    Raises:
        UsageError: the port is not a number.
    """
    host, port = "127.0.0.1", 29500  # torchrun's port
    if layout.launcher == "SLURM":
        nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST", "")
        host = first_host(nodes)
        job = int(re.sub(r"\D", "", os.environ.get("SLURM_JOB_ID", "")) or 0)
        port = 15000 + job % 10000  # jobs that share a machine need ports of their own
    elif layout.launcher == "cvkit" and layout.nodes == 1:
        port = _free_port()
    given = "MASTER_PORT" in os.environ
    return os.environ.get("MASTER_ADDR") or host, _number("MASTER_PORT") if given else port


def first_host(nodes: str) -> str:
    """Return the first host in a list of SLURM's, such as `a[03-05,9],b`."""
    match = re.match(r"([^\[,\s]+)(?:\[([^,\-\]]+))?([^\[\],\s]*)", nodes)
    return match[1] + (match[2] or "") if match else "127.0.0.1"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Child(Protocol):
    """A process that was started, such as a `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal; None while it runs."""

    def send_signal(self, sig: int) -> None:
        """Send it a signal."""


def start_process(arguments: Sequence[str], variables: Mapping[str, str]) -> Child:
    """Start cvkit with some arguments and additional environment variables."""
    return subprocess.Popen(
        [sys.executable, "-m", "cvkit", *arguments],
        env=os.environ | dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


PARENT = "_CVKIT_PARENT"
"""Variable with the id of the process that started this one as another rank."""


@dataclass(frozen=True)
class Started:
    """Processes that are about to work together.

    Attributes:
        layout: this process among them.
        address: host and port where the first one listens.
        children: those that this process has started, by rank.
    """

    layout: Layout
    address: tuple[str, int] = ("127.0.0.1", 0)
    children: Mapping[int, Child] = field(default_factory=dict)


def start(options: Sharing) -> Started:
    """Start the other processes of this machine that the flags ask for.

    Processes that torchrun or SLURM has started, and cvkit's own children, start none.

    Raises:
        UsageError: more processes than cores, or flags and variables contradict each other.
    """
    layout = find_layout(options)
    if layout.local_world > cores():
        raise UsageError(
            f"--devices {layout.local_world} exceeds the number of cores, {cores()}",
            code="devices.missing",
            hint="use fewer processes",
        )
    if layout.world == 1:
        return Started(layout)
    host, port = address = address_of_first(layout)
    shared = {"MASTER_ADDR": host, "MASTER_PORT": str(port), PARENT: str(os.getpid())}
    others = [
        replace(layout, rank=layout.rank + number, local_rank=number)
        for number in range(1, layout.local_world if layout.launcher == "cvkit" else 1)
    ]
    children = {
        other.rank: start_process(list(command_line), other.variables() | shared)
        for other in others
    }
    return Started(layout, address, children)


_processes_here = 1


def cores() -> int:
    """Return the cores that this process may use: its share, where several work together."""
    known = hasattr(os, "sched_getaffinity")
    found = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, found // _processes_here)


@contextlib.contextmanager
def sharing_cores(layout: Layout) -> Iterator[None]:
    """Divide the cores among the processes of this machine; SLURM has done so already."""
    global _processes_here
    before = _processes_here
    _processes_here = 1 if layout.launcher == "SLURM" else layout.local_world
    try:
        yield
    finally:
        _processes_here = before


def parent_lives() -> bool:
    """Return whether the process that started this one as another rank is still there."""
    return os.environ.get(PARENT) in (None, str(os.getppid()))


def ending_of(code: int) -> str:
    """Return how a process ended, in words, from its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
