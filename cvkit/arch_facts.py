"""The facts about an architecture in its table: one dataclass per task."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Arch:
    """A network that a task can build.

    Attributes:
        target: the class or function that builds it.
        about: one line for `cvkit models`.
        arguments: of the target, which distinguish variants of one class.
        aux_weight: weight of the auxiliary loss; 0 for an architecture without one.
        min_batch: smallest training batch (batch norm after global pooling needs two).
        flags: of train that have an effect on this architecture but not on all of its task; see
            `catalog.idle_flags`.
        gradient_free: it keeps its training images instead of being trained in steps.
        takes_backbone: it is built on the network that `--backbone` names.
        listed_on: backbone for `cvkit models`; "" for a complete network.
        torchvision: names of the same network there, each with its backbone; without a backbone it
            is a complete network, or the first part of several names.
        scores: the layer that scores the classes, in networks that torchvision has too.
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
    """An image classifier; see `cvkit.models.classify.build_classifier`.

    Attributes:
        parts: of a network without backbone: a key of
            `cvkit.models.classify.SMALL_NETWORKS`; "" for a torchvision network.
    """

    parts: str = ""


@dataclass(frozen=True)
class Form:
    """An architecture as another project builds it.

    Attributes:
        target: the class that builds it; "" for the one of the architecture.
        output_stride: of its backbone.
        full_dilation: of its ResNet, see `cvkit.models.backbones.ResNet`.
    """

    target: str
    output_stride: int
    full_dilation: bool = False


@dataclass(frozen=True, kw_only=True)
class Segmenter(Arch):
    """A decoder; called as `Decoder(backbone, num_classes, aux_level, **arguments)`.

    Attributes:
        output_stride: preferred stride of the coarsest map; backbones that cannot dilate that far
            use their nearest.
        atrous: rates of the atrous convolutions in torchvision's network, if there is one.
        positions: layers of a backbone whose maps torchvision's network uses, by the backbone's
            name, if they are not the last ones of each stride.
        forms: in which other projects build it, by name; models in these forms are imported.
    """

    output_stride: int = 32
    atrous: tuple[int, ...] = ()
    positions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    forms: tuple[tuple[str, Form], ...] = ()
    scores: str = "classifier.4"


@dataclass(frozen=True)
class Recipe:
    """How an architecture is trained with SGD in its paper.

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
        masks: it predicts a mask per object.
        needs_proposals: it needs external proposals.
        takes_crops: its inputs are regions cut out of the image.
        fixed_parts: its neck, RoI operation and width are fixed by its paper.
        fixed_anchors: it has no anchors, or fixed ones.
        pools: its default is RoI Pool instead of RoI Align.
        roi_samples: regions per image in the loss; 0 if the number depends on the image size.
        recipe: of SGD.
        least_side: smallest side of an input in pixels, below which no anchor fits; 0: no limit.
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
    """A video network; called with the fields of a model file that its target takes.

    Attributes:
        spreads_frames: `--sampling auto` spreads its frames over the video.
        needs_maps: it needs the maps of its backbone, not its features.
        inflates: the image network on which it is built, if that is fixed.
        side: of the frames for which `cvkit models` counts multiplications.
        published_frames: frames per clip in the training of torchvision's network.
        published_clips: views per video in the evaluation of torchvision's network.
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
