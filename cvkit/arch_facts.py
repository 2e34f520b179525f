"""What a table says of an architecture: one dataclass per task."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Arch:
    """A network that a task can build.

    Attributes:
        target: the class or function that makes it.
        about: one line for `cvkit models`.
        arguments: of the target, that tell variants of one class apart.
        aux_weight: weight of the auxiliary loss; 0 for an architecture without one.
        min_batch: smallest training batch (batch norm after global pooling needs two).
        flags: of train, that mean something to this architecture and nothing to some other one of
            its task; see `catalog.idle_flags`.
        gradient_free: it keeps its training images instead of being trained by steps.
        takes_backbone: it is built on the network that `--backbone` names.
        listed_on: backbone that `cvkit models` shows it on; empty for a network of one piece.
        torchvision: names of the same network there, each with the backbone that it has; without
            one it is a network of one piece, or the first part of the names of several.
        scores: the layer that scores the classes in the networks that torchvision has, too.
    """

    target: str
    about: str
    arguments: tuple[tuple[str, object], ...] = ()
    aux_weight: float = 0.0
    min_batch: int = 1
    flags: frozenset[str] = frozenset()
    gradient_free: bool = False
    takes_backbone: bool = True
    listed_on: str = "resnet50"
    torchvision: tuple[tuple[str, str], ...] = ()
    scores: str = ""


@dataclass(frozen=True, kw_only=True)
class Classifier(Arch):
    """A classifier of images; see `cvkit.models.classify.build_classifier`.

    Attributes:
        parts: what it is made of where it has no backbone; a key of
            `cvkit.models.classify.SMALL_NETWORKS`, empty for a network of torchvision.
    """

    parts: str = ""


@dataclass(frozen=True, kw_only=True)
class Segmenter(Arch):
    """A decoder; called as `Decoder(backbone, num_classes, aux_level, **arguments)`.

    Attributes:
        output_stride: the stride of the coarsest map that it wants; backbones that cannot dilate
            that far give their nearest.
        atrous: torchvision's rates of its atrous convolutions, where it has such a network.
        positions: layers whose maps torchvision's network reads of a backbone, by its name, where
            they are not the last ones of each stride.
    """

    output_stride: int = 32
    atrous: tuple[int, ...] = ()
    positions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    scores: str = "classifier.4"


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained on by SGD in its own paper.

    Attributes:
        lr: learning rate.
        images: per step.
    """

    lr: float
    images: int


@dataclass(frozen=True, kw_only=True)
class Detector(Arch):
    """A detector; called as `make(spec, num_classes, transform, facts)`.

    Attributes:
        version: 2 has batch norm in the pyramid, two convolutions in the proposal network and four
            in the box head.
        masks: it finds a mask for every object.
        needs_proposals: its regions are proposed by something else.
        takes_crops: regions are cut out of the image, and enter the network one by one.
        fixed_parts: its neck, RoI operation and width are those of its paper.
        fixed_anchors: it has no anchors, or those of its paper.
        pools: by default it takes RoI Pool instead of RoI Align.
        roi_samples: regions of an image in the loss of its own rule, whatever the image's size; 0
            where the number follows from the size.
        recipe: of SGD.
        least_side: of an input, in pixels; no anchor lies inside a smaller one. 0: any will do.
    """

    version: int = 1
    masks: bool = False
    needs_proposals: bool = False
    takes_crops: bool = False
    fixed_parts: bool = False
    fixed_anchors: bool = False
    pools: bool = False
    roi_samples: int = 0
    recipe: Recipe = Recipe(0.02, 16)
    least_side: int = 0
    scores: str = "roi_heads.box_predictor.cls_score"


@dataclass(frozen=True, kw_only=True)
class ClipNetwork(Arch):
    """A network of clips; called with those of a model file's numbers that its target takes.

    Attributes:
        spreads_frames: `--sampling auto` takes its frames from all over a video.
        needs_maps: it works on the maps of its backbone, not on its features.
        inflates: the network of images that it is made of, where that is always the same one.
        side: of the frames that `cvkit models` counts its multiplications for.
        published_frames: frames of the clips that torchvision's network was trained with.
        published_clips: views of a video that torchvision's network was measured with.
    """

    spreads_frames: bool = False
    needs_maps: bool = False
    inflates: str = ""
    side: int = 112
    published_frames: int = 16
    published_clips: int = 5
    takes_backbone: bool = False
    listed_on: str = ""
    scores: str = "fc"

    @property
    def made_of_images(self) -> bool:
        """Whether it is made of a network of images, whose weights it can begin with."""
        return self.takes_backbone or bool(self.inflates)
