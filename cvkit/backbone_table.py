"""Table of the image networks on which tasks build.

Every target is a `"module:attribute"` string, so that reading the table imports nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BackboneEntry:
    """A torchvision network, or a historic complete network including its head.

    Attributes:
        target: the class that returns its maps, called as `Backbone(builder, output_stride=...)`;
            for a complete network, called as `Network(num_classes, **arguments)`; "" for a network
            without a hierarchy of maps, which can only classify.
        about: one line for `cvkit models`.
        builder: function in `torchvision.models`; also names its published weights.
        versions: of its published ImageNet weights, oldest first.
        output_strides: that it supports by dilation.
        aux_level: index, counted back from the coarsest map, of the map for an auxiliary head.
        aux_weight: weight of the loss of its auxiliary classifiers; 0 if it has none.
        stages: the class that divides torchvision's network into stages, from the image to the
            last map, if that is not `target`.
        single_map: how a detector gets its map of stride 16; a key of
            `cvkit.models.detection.build.SINGLE_MAP`, "" if it cannot.
        channels_first: its maps are channels-first inside the network too, so that its first layer
            may take the channels of several frames.
        patch: side of the patches in pixels, for a network built for one image size; 0 for networks
            that take any size.
        computed_widths: its widths are computed with tensors, which does not work on the meta
            device.
        centred: its published weights were trained on pixels in -1..1 (mean and standard deviation
            0.5).
        small_stem: change of its first layers for small images; a key of
            `cvkit.models.stems.SMALL`, "" if there is none.
        whole: architectures of which this network is the historic form; empty for backbones, which
            work with all of them.
        arguments: of the constructor of a complete network.
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
        """The class whose `divided` returns the stages; "" for a network without stages."""
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
"""Names of torchvision's networks by their builder functions."""
