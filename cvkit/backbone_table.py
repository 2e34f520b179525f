"""Image networks that tasks put their heads on, as a table to read.

Every target is a `"module:attribute"` string, so that reading the table imports nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BackboneEntry:
    """A network of torchvision, or a historic one that is one piece with its head.

    Attributes:
        target: the class that gives its maps, called as `Backbone(builder, output_stride=...)`;
            for a whole network, called as `Network(num_classes, **arguments)`; empty for a network
            without a hierarchy of maps, which classifies only.
        about: one line for `cvkit models`.
        builder: function in `torchvision.models`; also names its published weights.
        versions: of its weights that are published for ImageNet, oldest first.
        output_strides: what it can be dilated to.
        aux_level: index, from the coarsest map back, of the map that feeds an auxiliary head.
        aux_weight: weight of the loss of the auxiliary classifiers that it has in training; 0 for
            a network without them.
        stages: the class that divides torchvision's network into stages, from the image to the
            last map, where that is not `target`.
        single_map: how it gives a detector the one map of stride 16; a key of
            `cvkit.models.detection.build.SINGLE_MAP`, empty if it cannot.
        channels_first: its maps have their channels first inside the network, too, so that its
            first layer may take the channels of several frames.
        patch: side in pixels of the patches of a network that is built for one size of images; 0
            for networks that take any size.
        computed_widths: its widths are computed with tensors, which needs a device with values.
        centred: its published weights were trained on pixels in -1..1 (mean and deviation 0.5).
        small_stem: how its first layers are changed for small images; a key of
            `cvkit.models.stems.SMALL`, empty if they cannot be.
        whole: architectures that this network is the historic form of; empty for backbones,
            which serve all of them.
        arguments: of the constructor of a whole network.
    """

    target: str = ""
    about: str = "torchvision"
    builder: str = ""
    versions: tuple[str, ...] = ("v1",)
    output_strides: tuple[int, ...] = (32,)
    aux_level: int = -2
    aux_weight: float = 0.0
    stages: str = ""
    single_map: str = ""
    channels_first: bool = True
    patch: int = 0
    computed_widths: bool = False
    centred: bool = False
    small_stem: str = ""
    whole: tuple[str, ...] = ()
    arguments: tuple[tuple[str, object], ...] = ()

    @property
    def divider(self) -> str:
        """The class whose `divided` gives the stages; empty for a network that is not divided."""
        return "" if self.whole else self.stages or self.target


_SEG = "cvkit.models.segmentation"
_BB = "cvkit.models.backbones"


BOTH = ("v1", "v2")


def _resnet(builder: str, versions: tuple[str, ...] = BOTH) -> BackboneEntry:
    return BackboneEntry(
        target=f"{_BB}:ResNet",
        builder=builder,
        versions=versions,
        output_strides=(8, 16, 32),
        single_map="resnet",
        small_stem="resnet",
    )


def _vgg(builder: str) -> BackboneEntry:
    return BackboneEntry(target=f"{_BB}:VGG", builder=builder, single_map="vgg")


def _chain(builder: str, small_stem: str, versions: tuple[str, ...] = ("v1",)) -> BackboneEntry:
    return BackboneEntry(
        target=f"{_BB}:Chain",
        builder=builder,
        small_stem=small_stem,
        versions=versions,
    )


def _swin(builder: str) -> BackboneEntry:
    return BackboneEntry(
        target=f"{_BB}:Swin",
        builder=builder,
        channels_first=False,
        small_stem="patch",
    )


def _regnet(builder: str) -> BackboneEntry:
    return BackboneEntry(
        target=f"{_BB}:RegNet",
        builder=builder,
        computed_widths=True,
        small_stem="strides",
        versions=BOTH,
    )


def _mobilenet_v3(builder: str, versions: tuple[str, ...] = ("v1",)) -> BackboneEntry:
    return BackboneEntry(
        target=f"{_BB}:MobileNetV3",
        builder=builder,
        versions=versions,
        output_strides=(16, 32),
        aux_level=-3,
        small_stem="strides",
    )


BACKBONES = {
    "alexnet": BackboneEntry(builder="alexnet", stages=f"{_BB}:VGG"),
    "vgg11": _vgg("vgg11"),
    "vgg11_bn": _vgg("vgg11_bn"),
    "vgg16": _vgg("vgg16"),
    "vgg16_bn": _vgg("vgg16_bn"),
    "vgg19": _vgg("vgg19"),
    "vgg19_bn": _vgg("vgg19_bn"),
    "googlenet": BackboneEntry(builder="googlenet", aux_weight=0.3, centred=True),
    "inception_v3": BackboneEntry(builder="inception_v3", aux_weight=0.4, centred=True),
    "resnet18": _resnet("resnet18", ("v1",)),
    "resnet34": _resnet("resnet34", ("v1",)),
    "resnet50": _resnet("resnet50"),
    "resnet101": _resnet("resnet101"),
    "resnet152": _resnet("resnet152"),
    "resnext50": _resnet("resnext50_32x4d"),
    "wide_resnet50": _resnet("wide_resnet50_2"),
    "densenet121": _chain("densenet121", "densenet"),
    "mobilenet_v2": _chain("mobilenet_v2", "strides", BOTH),
    "mobilenet_v3_small": _mobilenet_v3("mobilenet_v3_small"),
    "mobilenet_v3_large": _mobilenet_v3("mobilenet_v3_large", BOTH),
    "shufflenet_v2_x0_5": BackboneEntry(builder="shufflenet_v2_x0_5", small_stem="strides"),
    "efficientnet_b0": _chain("efficientnet_b0", "strides"),
    "efficientnet_b1": _chain("efficientnet_b1", "strides", BOTH),
    "efficientnet_b2": _chain("efficientnet_b2", "strides"),
    "efficientnet_b3": _chain("efficientnet_b3", "strides"),
    "convnext_tiny": _chain("convnext_tiny", "patch"),
    "convnext_small": _chain("convnext_small", "patch"),
    "convnext_base": _chain("convnext_base", "patch"),
    "vit_b_16": BackboneEntry(builder="vit_b_16", patch=16, small_stem="vit"),
    "vit_b_32": BackboneEntry(builder="vit_b_32", patch=32, small_stem="vit"),
    "swin_t": _swin("swin_t"),
    "swin_s": _swin("swin_s"),
    "swin_b": _swin("swin_b"),
    "swin_v2_t": _swin("swin_v2_t"),
    "regnet_y_400mf": _regnet("regnet_y_400mf"),
    "regnet_y_1_6gf": _regnet("regnet_y_1_6gf"),
    "regnet_y_3_2gf": _regnet("regnet_y_3_2gf"),
    "unet2015": BackboneEntry(
        target=f"{_SEG}.unet:ClassicUNet",
        about="the complete 2015 network, valid padding",
        whole=("unet",),
        arguments=(("valid_padding", True),),
    ),
    "unet-bn": BackboneEntry(
        target=f"{_SEG}.unet:ClassicUNet",
        about="the 2015 network with same padding and batch norm",
        whole=("unet",),
        arguments=(("valid_padding", False),),
    ),
    "fcn2014": BackboneEntry(
        target=f"{_SEG}.fcn:FCN2014",
        about="the complete 2014 network, VGG16 with fc6 and fc7",
        whole=("fcn-32s", "fcn-16s", "fcn-8s"),
    ),
}

BUILDERS = {entry.builder: name for name, entry in BACKBONES.items() if entry.builder}
"""Names of the networks of torchvision by the functions that build them."""
