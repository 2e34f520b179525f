"""What `train --log` takes. Imports none of the programs."""

from dataclasses import dataclass
from importlib.util import find_spec

from cvkit.catalog import nearest
from cvkit.errors import UsageError


@dataclass(frozen=True)
class Program:
    """A program that keeps curves.

    Attributes:
        logger: its class, as `module:Class`.
        packages: modules that must be installed.
        extra: of cvkit, which installs them.
    """

    logger: str
    packages: tuple[str, ...] = ()
    extra: str = ""


PROGRAMS = {
    "tensorboard": Program(
        "cvkit.loggers.tensorboard:TensorBoard", ("tensorboard",), "tensorboard"
    ),
    "wandb": Program("cvkit.loggers.wandb:WeightsAndBiases", ("wandb",), "wandb"),
    "mlflow": Program("cvkit.loggers.mlflow:MLflow", ("mlflow", "sqlalchemy"), "mlflow"),
    "csv": Program("cvkit.loggers.tables:Tables"),
}
"""Values of `--log`; several are separated by commas."""


def parse_log(text: str) -> tuple[str, ...]:
    """Return the programs that `--log` names, each once.

    Raises:
        UsageError: an unknown one, or one that is not installed.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in PROGRAMS:
            hint = nearest(name, PROGRAMS)
            raise UsageError(f"--log {name!r} is unknown", code="log.unknown", hint=hint)
        program = PROGRAMS[name]
        for package in program.packages:
            if find_spec(package) is None:
                raise UsageError(
                    f"--log {name} needs the package {package}, which is not installed",
                    code="log.missing",
                    hint=f"pip install 'cvkit[{program.extra}]'",
                )
    return names
