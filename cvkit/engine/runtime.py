"""The machine: device, precision, threads, memory and signals."""

import contextlib
import ctypes
import logging
import multiprocessing
import os
import platform
import signal
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision, Precision
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from cvkit import __version__
from cvkit.catalog import closest
from cvkit.early import leave
from cvkit.engine.processes import Layout, cores
from cvkit.errors import Interrupted, UsageError


def choose(device: str, precision: str, *, proven: bool = False) -> tuple[torch.device, str]:
    """Return what `--device` and `--precision` mean on this machine.

    Args:
        device: `--device`.
        precision: `--precision`.
        proven: whether bf16 is known to leave the metric of the model as it is.

    Raises:
        UsageError: no such device, or a precision that it does not have.
    """
    chosen = choose_device(device)
    return chosen, choose_precision(precision, chosen, proven=proven)


def choose_device(name: str) -> torch.device:
    """Return the device that `--device` names; auto takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = name.partition(":")
    here = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    known = kind in here and (not number or number.isdecimal())
    if not known or int(number or 0) >= here[kind]:
        found = ", ".join(f"{count} {kind}" for kind, count in here.items() if count)
        usable = [name for name, count in here.items() if count]
        meant = "cuda" if kind == "gpu" else kind
        near = None if kind in here else closest(meant, ("auto", *usable))
        hint = f"did you mean {near}?" if near else f"available: {found}"
        raise UsageError(f"--device {name} is not available", code="device.missing", hint=hint)
    return torch.device("cpu") if kind == "cpu" else torch.device(kind, int(number or 0))


def choose_precision(name: str, device: torch.device, *, proven: bool = False) -> str:
    """Return fp32, bf16 or fp16.

    Auto is bf16 on CUDA and on CPUs with AMX, and for a proven model on CPUs that multiply in it.

    Raises:
        UsageError: fp16 on a CPU, which gains nothing there.
    """
    if name == "auto":
        return "bf16" if _has_fast_bf16(device, proven) else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU", code="precision", hint="fp32 or bf16")
    return name


def _has_fast_bf16(device: torch.device, proven: bool) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    flags = {"amx_bf16", *(["avx512_bf16"] if proven else [])}
    return device.type == "cpu" and not flags.isdisjoint(cpu_facts("flags").split())


def cpu_facts(name: str) -> str:
    """Return a line of /proc/cpuinfo, such as `model name` or `flags`; "" where there is none."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in found if key.strip() == name), "")


def make_fabric(device: torch.device, layout: Layout, precision: str) -> Fabric:
    """Return a launched Fabric for this process, alone or among those that have joined.

    Raises:
        UsageError: more processes than GPUs.
    """
    devices = layout.local_world
    if device.type == "cuda" and devices > torch.cuda.device_count():
        raise UsageError(
            f"--devices {devices} exceeds the number of GPUs, {torch.cuda.device_count()}",
            code="devices.missing",
        )
    single = [device.index] if device.type == "cuda" else 1
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(cores())
    if device.type == "cuda":
        _make_cuda_exact(precision)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets on stderr
    fabric = Fabric(
        accelerator=device.type,
        devices=devices if layout.world > 1 else single,
        num_nodes=layout.nodes,
        strategy="ddp" if layout.world > 1 else "auto",
        plugins=[_plugin(precision, device), _Environment(layout)],
    )
    fabric.launch()
    return fabric


class _Environment(LightningEnvironment):
    """Tells Fabric which of the processes that have joined this one is."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def world_size(self) -> int:
        return self.layout.world

    def global_rank(self) -> int:
        return self.layout.rank

    def local_rank(self) -> int:
        return self.layout.local_rank

    def node_rank(self) -> int:
        return self.layout.node

    def teardown(self) -> None:
        pass


class _Autocast(MixedPrecision):
    """Mixed precision that leaves inputs as they are.

    Fabric would cast every floating-point input, so boxes at 900 px would move by up to 2 px;
    autocast alone casts what is multiplied.
    """

    def convert_input(self, data: Any) -> Any:
        return data


def _plugin(precision: str, device: torch.device) -> Precision:
    if precision == "fp32":
        return Precision()
    return _Autocast("bf16-mixed" if precision == "bf16" else "16-mixed", device.type)


def _make_cuda_exact(precision: str) -> None:
    """Make the same command give the same bits, and fp32 mean fp32.

    By default cuDNN rounds the factors of fp32 convolutions to 10 bits (TF32), which moves
    probabilities in the third digit, and some kernels add up in the order in which their threads
    arrive; docs/gpu.md says what the exact ones cost. `CVKIT_EXACT=0` leaves them alone.
    """
    rounding = "ieee" if precision == "fp32" else "tf32"
    # Torch makes these two attributes where no type checker sees it.
    torch.backends.cudnn.conv.fp32_precision = rounding  # type: ignore[attr-defined]
    if os.environ.get("CVKIT_EXACT") == "0":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it starts
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    # It only helps to find bugs.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    warnings.filterwarnings("ignore", ".*does not have a deterministic implementation")


def processor() -> str:
    """Return the model of the CPU, or its architecture where the system does not say."""
    return cpu_facts("model name") or platform.processor() or platform.machine()


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the memory of the process that started this one
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def choose_workers(wanted: int, device: torch.device) -> int:
    """Return the number of decoding processes; -1 takes what the cores allow.

    On a CPU the network needs the cores, so a few workers are enough to overlap decoding.
    """
    if wanted >= 0:
        return wanted
    share = cores()
    return max(0, share // 4 if device.type == "cpu" else min(8, share - 1))


def keep_memory() -> None:
    """Keep glibc from returning freed memory, which a network asks for again at every step.

    Without it most of the time of small convolutions is spent in page faults. `CVKIT_MALLOC=0`
    switches it off; other C libraries are left alone.
    """
    if os.environ.get("CVKIT_MALLOC") == "0" or sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**30)
        mallopt(top_pad, 64 * 2**20)


AGAIN = "run the same command again"
"""The remedy for an interruption that leaves nothing to resume."""


class StopSignal:
    """Remembers that SIGINT or SIGTERM came, for a loop to stop at its next safe point.

    A second signal ends the process at once, and its workers with it.

    Attributes:
        number: the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.number = 0
        self._process, self._waits = os.getpid(), True
        self._of_another = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker that has just been forked; it has its own handler in a moment
        if self.number and not self._of_another:
            for child in multiprocessing.active_children():
                child.kill()
            leave(number)
        self.number, self._of_another = number, False
        if not self._waits:
            raise KeyboardInterrupt(number)

    def follow(self, number: int) -> None:
        """Stop as if a signal had come, because it came to a process that this one works with.

        The signal itself may follow, and is then the first one.
        """
        if not self.number:
            self.number, self._of_another = number, True

    @contextlib.contextmanager
    def at_once(
        self, message: str = "interrupted before the work began", hint: str = AGAIN
    ) -> Iterator[None]:
        """Stop inside the block wherever it is: nothing in it is to be saved.

        Args:
            message: of the error.
            hint: its remedy.

        Raises:
            Interrupted: a signal came.
        """
        self._waits = False
        try:
            yield
        except KeyboardInterrupt:
            self._waits = True
            self.raise_if_set(message, hint)
            raise
        finally:
            self._waits = True
        self.raise_if_set(message, hint)  # where a library swallowed the exception

    def raise_if_set(self, message: str, hint: str = "") -> None:
        """Do nothing without a signal.

        Raises:
            Interrupted: a signal came.
        """
        if self.number:
            raise Interrupted(message, signal_number=self.number, hint=hint)


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignal]:
    """Catch SIGINT and SIGTERM inside the block.

    When one came, they stay caught after it: a second one, which a process on its way out may
    get, still ends it with the right code.
    """
    stop = StopSignal()
    try:
        before = {n: signal.signal(n, stop._handle) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals cannot be caught here
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in before.items() if not stop.number else ():
            signal.signal(number, handler)


def environment(fabric: Fabric) -> dict[str, Any]:
    """Return what, besides the configuration, the numbers of a run depend on."""
    packages = ("torch", "torchvision", "numpy", "albumentations", "opencv-python-headless")
    return {
        "cvkit": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "packages": {name: version(name) for name in (*packages, "pillow", "lightning-fabric")},
        "device": str(fabric.device),
        "precision": str(fabric.strategy.precision.precision),
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
    }
