"""Network and preprocessing of a pretraining, as its model file stores them."""

from torch import nn

from cvkit.models.pretraining.base import (
    PretextNetwork,
    PretextSpec,
    build_body,
    build_pretext,
)
from cvkit.tasks.classify.network import Preprocessing as Preprocessing


class Network(PretextSpec):
    """The network and its parameters; stored in the model file."""

    def build(self, num_classes: int) -> PretextNetwork:
        """Return the network, freshly initialised; it has no classes."""
        return build_pretext(self)

    def body(self) -> nn.Module:
        """Return its backbone alone."""
        return build_body(self).net
