"""Install the wheel in new environments, with the oldest and the newest torch, and try it.

    python tests/reliability/matrix.py [PYTHON ...]

Each environment has nothing but the wheel and what it requires, so that a file or a package that
is forgotten shows. Pythons that are not on this machine are named and left out, and so is what
was not tried; it is a failure if nothing was.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHONS = ("python3.11", "python3.12", "python3.13")
TRIALS = (
    ("--help",),
    ("segment", "predict", "{samples}/segment/images/val", "--weights", "scenes", "--out", "{out}"),
    ("classify", "train", "--arch", "lenet", "--epochs", "1", "--out", "{out}/runs", "--quiet"),
    ("detect", "eval", "--weights", "boxes", "--data", "{samples}/detect", "--out", "{out}/eval"),
)


def found(python: str) -> str | None:
    """Return the path of a Python that runs; None if there is none, or only a stand-in of pyenv.

    Versions that pyenv has and does not offer are found, too.
    """
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    number = python.removeprefix("python")
    for place in [shutil.which(python), *sorted(home.glob(f"versions/{number}.*/bin/{python}"))]:
        if place is not None:
            done = subprocess.run([place, "-c", ""], capture_output=True, check=False)
            if done.returncode == 0:
                return str(place)
    return None


def oldest() -> list[str]:
    """Return the oldest torch and torchvision that pyproject.toml allows, as requirements."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        required = tomllib.load(stream)["project"]["dependencies"]
    rows = (re.match(r"(torch|torchvision)>=([\d.]+)", each) for each in required)
    return [f"{row[1]}=={row[2]}.*" for row in rows if row]


def build(folder: Path) -> tuple[Path, Path]:
    """Build the wheel, and another one from the sdist, which must be equal; return both."""
    pip = [sys.executable, "-m", "pip"]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}

    def call(*words: object) -> None:
        subprocess.run([str(word) for word in words], check=True, env=environment)

    call(*pip, "install", "--quiet", "build", "hatchling")
    call(sys.executable, "-m", "build", "--outdir", folder / "a", ROOT)
    (sdist,) = (folder / "a").glob("*.tar.gz")
    call(*pip, "wheel", "--no-deps", "--quiet", "--wheel-dir", folder / "b", sdist)
    (wheel,), (again,) = (folder / "a").glob("*.whl"), (folder / "b").glob("*.whl")
    return wheel, again


def tried(python: str, wheel: Path, more: list[str], folder: Path) -> str:
    """Return what fails in a new environment; "" if nothing does."""
    place = folder / "env"
    shutil.rmtree(place, ignore_errors=True)
    steps = [[python, "-m", "venv", place], [place / "bin/pip", "install", "-q", wheel, *more]]
    out = folder / "out"
    for words in TRIALS:
        words = [word.format(samples=ROOT / "samples", out=out) for word in words]
        steps.append([place / "bin/cvkit", *words])
    shutil.rmtree(out, ignore_errors=True)
    for step in steps:
        done = subprocess.run(
            [str(word) for word in step], cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            return f"{' '.join(map(str, step[:4]))}: {done.stderr.strip()[-500:]}"
    return ""


def main() -> int:
    """Return 0 if everything works on each Python that is here."""
    failed, tries, missing = False, 0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, again = build(folder)
        equal = wheel.read_bytes() == again.read_bytes()
        print(f"the wheel from the sdist is {'the same' if equal else 'another one'}", flush=True)
        failed |= not equal
        for python in sys.argv[1:] or PYTHONS:
            place = found(python)
            if place is None:
                missing.append(python)
                continue
            for which, more in (("newest torch", []), ("oldest torch", oldest())):
                why = tried(place, wheel, more, folder)
                print(f"{python}, {which}: {why or 'well'}", flush=True)
                failed |= bool(why)
                tries += 1
    print(f"{tries} environments were tried; not on this machine: {', '.join(missing) or 'none'}")
    return int(failed or not tries)


if __name__ == "__main__":
    sys.exit(main())
