"""Wide & deep: a linear model that remembers combinations beside a network that generalises."""

from __future__ import annotations

from torch import Tensor, nn

from dlrun.config.schema import Buckets, Probability, Width
from dlrun.data.base import Spec
from dlrun.models.columns import Embedding
from dlrun.models.layers import ActivationName, InitName
from dlrun.models.linear import Linear
from dlrun.models.mlp import MLP, BatchNormPlace
from dlrun.models.requirements import require_numbers


class WideDeep(nn.Module):
    """The sum of the scores of a linear model and an MLP, trained together (Cheng et al., 2016, equation 3).

    The wide part reads numbers, one-hot categories and crosses of them, the deep part numbers and
    embedded categories. Both have the one optimizer of the run, where the paper had FTRL for the wide part.

    Shapes: B batch, C outputs; input (B, *spec.input_shape), flattened, to scores (B, C).
    """

    def __init__(
        self,
        spec: Spec,
        *,
        crosses: list[list[str]],
        cross_buckets: Buckets,
        embedding: Embedding,
        hidden: list[Width],
        activation: ActivationName | list[ActivationName],
        negative_slope: float,
        batch_norm: BatchNormPlace,
        dropout: Probability,
        input_dropout: Probability,
        init: InitName,
    ) -> None:
        super().__init__()
        require_numbers(spec, model="wide_deep")
        # The deep part has a bias already.
        self.wide = Linear(spec, bias=False, crosses=crosses, cross_buckets=cross_buckets)
        self.deep = MLP(
            spec,
            embedding=embedding,
            hidden=hidden,
            activation=activation,
            negative_slope=negative_slope,
            batch_norm=batch_norm,
            dropout=dropout,
            input_dropout=input_dropout,
            init=init,
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C)"""
        wide: Tensor = self.wide(x)
        deep: Tensor = self.deep(x)
        return wide + deep
