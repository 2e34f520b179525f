"""Table of the methods of self-supervised pretraining.

Every target is a `"module:attribute"` string, so that reading the table imports nothing.
"""

from dataclasses import dataclass

_MODELS = "cvkit.models.pretraining"


@dataclass(frozen=True, kw_only=True)
class Pretext:
    """What a network learns from images without labels.

    Attributes:
        target: the class of the network, called as `Network(body, spec)`.
        about: one line.
        score: what the validation score is.
        views: number of random views of each image.
        needs_maps: the network reads the last map of the backbone instead of its mean.
        together: all samples of a batch are compared, so it works in one process.
        temperature: default of `--temperature`; 0 if it has none.
        flags: of `cvkit pretrain` that have an effect on this method but not on all.
    """

    target: str
    about: str
    score: str
    views: int = 1
    needs_maps: bool = False
    together: bool = False
    temperature: float = 0.0
    flags: frozenset[str] = frozenset()


_ACCURACY = "fraction of the {} that are recognised"
_EXPLAINED = "1 - squared error / squared error of {}"

PRETEXTS = {
    "simclr": Pretext(
        target=f"{_MODELS}.contrast:SimCLR",
        about="two views of an image attract each other, all other views of the batch repel them",
        score="fraction of the views whose nearest view in the batch is the other one of its image",
        views=2,
        together=True,
        temperature=0.5,
        flags=frozenset({"temperature", "projection"}),
    ),
    "moco-v2": Pretext(
        target=f"{_MODELS}.contrast:MoCo",
        about="as simclr, against a queue of earlier views from a slowly moving encoder",
        score="fraction of the views that are nearer to the other one of its image than to the "
        "whole queue",
        views=2,
        together=True,
        temperature=0.2,
        flags=frozenset({"temperature", "projection", "queue", "key_momentum"}),
    ),
    "rotation": Pretext(
        target=f"{_MODELS}.puzzles:Rotation",
        about="by which of four angles an image was rotated",
        score=_ACCURACY.format("rotations"),
    ),
    "jigsaw": Pretext(
        target=f"{_MODELS}.puzzles:Jigsaw",
        about="in which order nine tiles of an image were shuffled",
        score=_ACCURACY.format("orders"),
        flags=frozenset({"permutations"}),
    ),
    "colorization": Pretext(
        target=f"{_MODELS}.reconstruction:Colorization",
        about="the colours of a grey image",
        score=_EXPLAINED.format("grey"),
        needs_maps=True,
    ),
    "inpainting": Pretext(
        target=f"{_MODELS}.reconstruction:Inpainting",
        about="the pixels of a square that was cut out",
        score=_EXPLAINED.format("the mean colour"),
        needs_maps=True,
        flags=frozenset({"hole"}),
    ),
}
