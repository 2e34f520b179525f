"""Networks of images that tasks put their heads on, as a table to read.

Every target is a `"module:attribute"` string, so that reading the table imports nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class BackboneEntry:
    """A network of torchvision, or a historic one that is one piece with its head.

    Attributes:
        target: the class that gives its maps, called as `Backbone(builder, output_stride=...)`;
            for a whole network, called as `Network(num_classes, **own)`; empty for a network
            without a hierarchy of maps, which classifies only.
        about: one line for `cvkit models`.
        builder: function in `torchvision.models`; also names its published weights.
        versions: of its weights that are published for ImageNet, oldest first.
        output_strides: what it can be dilated to.
        aux_level: index, from the coarsest map back, of the map that feeds an auxiliary head.
        small_stem: how its first layers are changed for small images; a key of
            `cvkit.models.stems.SMALL`, empty if they cannot be.
        whole: architectures that this network is the historic form of; empty for backbones,
            which serve all of them.
        own: constructor arguments of a whole network.
    """

    target: str = ""
    about: str = "torchvision"
    builder: str = ""
    versions: tuple[str, ...] = ("v1",)
    output_strides: tuple[int, ...] = (32,)
    aux_level: int = -2
    small_stem: str = ""
    whole: tuple[str, ...] = ()
    own: tuple[tuple[str, object], ...] = ()


_SEG = "cvkit.models.segmentation"
_BB = "cvkit.models.backbones"


BOTH = ("v1", "v2")


def _resnet(builder: str, versions: tuple[str, ...] = BOTH) -> BackboneEntry:
    return BackboneEntry(
        target=f"{_BB}:ResNet",
        builder=builder,
        versions=versions,
        output_strides=(8, 16, 32),
        small_stem="resnet",
    )


def _vgg(builder: str) -> BackboneEntry:
    return BackboneEntry(target=f"{_BB}:VGG", builder=builder)


def _stages(builder: str, small_stem: str, versions: tuple[str, ...] = ("v1",)) -> BackboneEntry:
    return BackboneEntry(
        target=f"{_BB}:Stages", builder=builder, small_stem=small_stem, versions=versions
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
    "alexnet": BackboneEntry(builder="alexnet"),
    "vgg11": _vgg("vgg11"),
    "vgg11_bn": _vgg("vgg11_bn"),
    "vgg16": _vgg("vgg16"),
    "vgg16_bn": _vgg("vgg16_bn"),
    "vgg19": _vgg("vgg19"),
    "vgg19_bn": _vgg("vgg19_bn"),
    "googlenet": BackboneEntry(builder="googlenet"),
    "inception_v3": BackboneEntry(builder="inception_v3"),
    "resnet18": _resnet("resnet18", ("v1",)),
    "resnet34": _resnet("resnet34", ("v1",)),
    "resnet50": _resnet("resnet50"),
    "resnet101": _resnet("resnet101"),
    "resnet152": _resnet("resnet152"),
    "resnext50": _resnet("resnext50_32x4d"),
    "wide_resnet50": _resnet("wide_resnet50_2"),
    "densenet121": _stages("densenet121", "densenet"),
    "mobilenet_v2": _stages("mobilenet_v2", "strides", BOTH),
    "mobilenet_v3_small": _mobilenet_v3("mobilenet_v3_small"),
    "mobilenet_v3_large": _mobilenet_v3("mobilenet_v3_large", BOTH),
    "shufflenet_v2_x0_5": BackboneEntry(builder="shufflenet_v2_x0_5", small_stem="strides"),
    "efficientnet_b0": _stages("efficientnet_b0", "strides"),
    "efficientnet_b1": _stages("efficientnet_b1", "strides", BOTH),
    "efficientnet_b2": _stages("efficientnet_b2", "strides"),
    "efficientnet_b3": _stages("efficientnet_b3", "strides"),
    "convnext_tiny": _stages("convnext_tiny", "patch"),
    "convnext_small": _stages("convnext_small", "patch"),
    "convnext_base": _stages("convnext_base", "patch"),
    "vit_b_16": BackboneEntry(builder="vit_b_16", small_stem="vit"),
    "vit_b_32": BackboneEntry(builder="vit_b_32", small_stem="vit"),
    "swin_t": _stages("swin_t", "patch"),
    "swin_s": _stages("swin_s", "patch"),
    "swin_b": _stages("swin_b", "patch"),
    "swin_v2_t": _stages("swin_v2_t", "patch"),
    "regnet_y_400mf": _stages("regnet_y_400mf", "strides", BOTH),
    "regnet_y_1_6gf": _stages("regnet_y_1_6gf", "strides", BOTH),
    "regnet_y_3_2gf": _stages("regnet_y_3_2gf", "strides", BOTH),
    "unet2015": BackboneEntry(
        target=f"{_SEG}.unet:ClassicUNet",
        about="the whole network of 2015, valid padding",
        whole=("unet",),
        own=(("valid_padding", True),),
    ),
    "unet-bn": BackboneEntry(
        target=f"{_SEG}.unet:ClassicUNet",
        about="the network of 2015 with same padding and batch norm",
        whole=("unet",),
        own=(("valid_padding", False),),
    ),
    "fcn2014": BackboneEntry(
        target=f"{_SEG}.fcn:FCN2014",
        about="the whole network of 2014, VGG16 with fc6 and fc7",
        whole=("fcn-32s", "fcn-16s", "fcn-8s"),
    ),
}
