"""AM-Softmax: cosines to one vector a class, and a margin that the right one has to be ahead by.

Wang, Cheng, Liu & Liu, "Additive Margin Softmax for Face Verification", 2018, arXiv:1801.05599, eq. 6. With margin 0
it is cross-entropy on scaled cosines. The margin is learned with, and left out of predictions.

B utterances, P features of an embedding, K classes.
"""

from torch import Tensor, nn
from torch.nn import functional

from sottovoce.errors import InputError

SHORTEST = (
    1e-4  # embeddings are not stretched to length 1 from below this: the gradient would be as long as the inverse
)


class AMSoftmax(nn.Module):
    """forward(x (B, P)) -> scores (B, K): scale * cosine. `loss` is what to train on.

    Args:
        scale: s; scores lie within +- s. 30 as in s3prl's speaker verification.
        margin: m, in units of the cosine. The face paper has 0.35; with few classes less is enough.
    """

    def __init__(self, features: int, classes: int, *, scale: float = 30.0, margin: float = 0.2):
        super().__init__()
        if not scale > 0:
            raise InputError(f"scale: of the cosines, above 0. Found {scale}.")
        if not 0 <= margin < 2:
            raise InputError(f"margin: between cosines, 0 to below 2. Found {margin}.")
        self.scale, self.margin = scale, margin
        self.weight = nn.Parameter(nn.init.xavier_normal_(Tensor(classes, features)))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.normalize(x, dim=-1, eps=SHORTEST)
        return self.scale * functional.linear(x, functional.normalize(self.weight, dim=-1, eps=SHORTEST))

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        """Embeddings (B, P), classes (B,) -> (B,) cross-entropies, the right class held back by the margin."""
        held = held_back(self(x), target, self.scale * self.margin)
        return functional.cross_entropy(held, target, reduction="none")


def held_back(scores: Tensor, target: Tensor, margin: float) -> Tensor:
    """Scores (B, K) with that of the right class (B,) less by a margin, which it then has to be ahead by."""
    return scores - margin * functional.one_hot(target, scores.shape[-1])
