"""Paint a photo in the style of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit.commands.crafting import gradient_model
from cvkit.commands.printing import print_json
from cvkit.config import as_config
from cvkit.console import Reporter, number, print_line
from cvkit.errors import UsageError
from cvkit.options.described import differs
from cvkit.options.style import VGG, Style

if TYPE_CHECKING:
    import numpy as np
    import torch

    from cvkit.crafting.style import Features

INTERRUPTED = "interrupted; nothing is written"
SUFFIXES = (".png", ".jpg")


def style(options: Style) -> int:
    """Paint a photo, write it and print the losses."""
    from cvkit.crafting.style import Recipe, transfer, with_colors_of
    from cvkit.engine import runtime
    from cvkit.output.files import write_rgb

    out, named = _checked(options)
    report = Reporter(options.quiet)
    runtime.keep_memory()
    with runtime.stop_signals() as stop:
        with stop.at_once():
            photo = _read(options.content, options.size)
            pictures = [(_read(path, options.size), weight) for path, weight in named]
            features, device = _features(options, report)
            content = _tensor(photo, device)
            layers = _layers(options, features, content)
            start = _start(options, content)
        recipe = Recipe(
            content_weight=options.content_weight,
            style_weight=options.style_weight,
            tv=options.tv,
            steps=options.steps,
            rate=options.rate,
        )
        losses: list[tuple[float, float]] = []
        with report.progress("painting", options.steps) as advance:

            def on_step(shape: float, texture: float) -> None:
                losses.append((shape, texture))
                advance(len(losses), f"content {shape:.3g}, style {texture:.3g}")
                stop.raise_if_set(INTERRUPTED)

            styles = [(_tensor(picture, device), weight) for picture, weight in pictures]
            image = transfer(features, content, styles, layers, recipe, start, on_step)
    painted = _bytes(image)
    painted = with_colors_of(photo, painted) if options.keep_colors else painted
    write_rgb(out, painted)
    return _tell(options, out, layers, losses)


def _checked(options: Style) -> tuple[Path, list[tuple[Path, float]]]:
    """Return the file to write, and the pictures with their weights.

    Raises:
        UsageError: flags that cannot work.
    """
    if not options.style:
        raise UsageError("--style is missing", code="style.missing", hint="--style PICTURE")
    out = options.out or options.content.with_name(f"{options.content.stem}-style.png")
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"--out {out} does not end in {' or '.join(SUFFIXES)}",
            code="out.suffix",
            hint="add the suffix",
        )
    if not out.parent.is_dir():
        raise UsageError(
            f"--out {out}: {out.parent} is not a folder", code="out.folder", hint="create it"
        )
    if out.exists() and not options.overwrite:
        raise UsageError(
            f"--out {out} exists", code="out.exists", hint="add --overwrite to replace it"
        )
    if differs(options, "seed") and options.start != "noise":
        raise UsageError(
            "--seed has no effect with --start content", code="seed.idle", hint="--start noise"
        )
    return out, [_weighted(text) for text in options.style]


def _weighted(text: str) -> tuple[Path, float]:
    """Return what `FILE:WEIGHT` names; a file may have a colon in its name."""
    name, colon, word = text.rpartition(":")
    if not colon or Path(text).is_file():
        return Path(text), 1.0
    try:
        weight = float(word)
    except ValueError:
        return Path(text), 1.0
    if not 0 < weight < 1e6:
        raise UsageError(
            f"--style {text}: the weight is {word}",
            code="style.weight",
            hint="a number above 0, such as 0.5",
        )
    return Path(name), weight


def _read(path: Path, size: int) -> np.ndarray:
    """Return a picture whose longer side is `size`.

    Raises:
        DataError: it cannot be read.
    """
    from cvkit.data.decode import read_image
    from cvkit.data.resize import resize_image

    image = read_image(path)
    factor = size / max(image.shape[:2])
    height, width = (max(16, round(side * factor)) for side in image.shape[:2])
    return resize_image(image, (height, width))


def _features(options: Style, report: Reporter) -> tuple[Features, torch.device]:
    """Return the network whose maps are compared.

    Raises:
        ModelFileError: the weights are not there; the hint says where they go.
        UsageError: the model has no maps of images.
    """
    from cvkit.catalog import BACKBONES, resolve
    from cvkit.crafting.style import Features
    from cvkit.engine.runtime import choose
    from cvkit.models.weights import load_pretrained
    from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD
    from cvkit.tasks.explained import explainable_of

    if options.weights == "imagenet":
        device, _ = choose(options.device, "fp32", proven=False)
        network: Any = resolve(BACKBONES[VGG].target)(VGG)
        report.say(
            load_pretrained(network, VGG, "imagenet", offline=options.offline, say=report.say)
        )
        network.requires_grad_(False).eval().to(device)
        return Features(network, network, IMAGENET_MEAN, IMAGENET_STD), device
    trained, _ = gradient_model(options, ())
    if trained.task.dimensions != 3:
        raise UsageError(
            f"models for {trained.task.name} have no maps of images",
            code="weights.task",
            hint="--weights imagenet, or a model for images",
        )
    explained, made = explainable_of(trained.task, trained.model), trained.task.preprocessing
    features = Features(trained.model, explained.mapped, made.mean, made.std)
    return features, trained.fabric.device


def _layers(options: Style, features: Features, content: torch.Tensor) -> tuple[list[str], str]:
    import torch

    from cvkit.crafting import style as styles
    from cvkit.explain.layers import modules_of

    with torch.no_grad():
        found = features.maps(content, [*modules_of(features.model, features.part)])
    shapes = {name: maps.shape for name, maps in found.items()}
    if options.weights == "imagenet":
        named = options.layers or ",".join(styles.VGG_STYLE)
        return styles.chosen_layers(shapes, named, options.content_layer or styles.VGG_CONTENT)
    return styles.chosen_layers(shapes, options.layers, options.content_layer)


def _start(options: Style, content: torch.Tensor) -> torch.Tensor:
    import torch

    if options.start == "content":
        return content
    generator = torch.Generator().manual_seed(options.seed)
    return torch.rand(content.shape, generator=generator).to(content.device)


def _tensor(image: np.ndarray, device: torch.device) -> torch.Tensor:
    import torch

    return torch.from_numpy(image).permute(2, 0, 1)[None].to(device).float() / 255


def _bytes(image: torch.Tensor) -> np.ndarray:
    pixels = (image[0] * 255).round().byte().cpu().numpy().transpose(1, 2, 0)
    return pixels.copy()


def _tell(
    options: Style,
    out: Path,
    layers: tuple[list[str], str],
    losses: list[tuple[float, float]],
) -> int:
    names = ("content", "style")
    content = {
        "command": "style",
        "out": str(out),
        "layers": {"style": layers[0], "content": layers[1]},
        "start": dict(zip(names, losses[0], strict=True)),
        "end": dict(zip(names, losses[-1], strict=True)),
        "options": as_config(options),
    }
    if options.json:
        print_json(content)
        return 0
    for place, name in enumerate(names):
        ends = f"{number(losses[0][place])} to {number(losses[-1][place])}"
        print_line(f"{name:16} {ends}, relative to what is wanted")
    print_line(f"file             {out}")
    return 0
