"""A linear discriminant for many features and few utterances, and its mean with a logistic regression.

Both are linear layers. A regression looks at what is hard to tell apart, a discriminant at the whole of each class;
where features are many more than utterances, they err on different ones.
"""

import torch
from torch import Tensor


def discriminant(
    x: Tensor, y: Tensor, classes: int, shrinkage: float = 0.7, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Linear layer (K, P), (K,) of the linear discriminant of standardised features x (N, P) and classes y (N,), or
    shares of classes (N, K); rows of weight 2 (N,) count as two.

    The covariance within classes is drawn towards the identity, times its mean variance, by `shrinkage` (Friedman 1989,
    "Regularized discriminant analysis", eq. 16); every class is as likely as another, classes without utterances are
    never answered. Of few utterances it is computed in their span, so that no (P, P) matrix is needed; of one a class,
    which says nothing about what lies within a class, it answers the nearest.
    """
    (count, width), x = x.shape, x.double()
    span = torch.linalg.qr(x.T)[0] if count < width else None  # (P, N)
    z = x if span is None else x @ span  # (N, R)
    belongs = y.double() if y.ndim == 2 else torch.nn.functional.one_hot(y, classes).double()
    if weights is not None:
        belongs = belongs * weights.double()[:, None]
    size = belongs.sum(0)
    means = (belongs.T @ z) / size.clamp_min(1e-9)[:, None]  # (K, R)
    covariance = ((z * belongs.sum(1, keepdim=True)).T @ z - (means * size[:, None]).T @ means) / size.sum()
    even = (covariance.trace() / width).clamp_min(1e-9) * torch.eye(len(covariance), dtype=covariance.dtype)
    directions = torch.linalg.solve((1 - shrinkage) * covariance + shrinkage * even, means.T).T  # (K, R)
    bias = torch.where(size > 0, -0.5 * (directions * means).sum(1), -torch.inf)
    return (directions if span is None else directions @ span.T).float(), bias.float()


def mean_with(
    weight: Tensor, bias: Tensor, x: Tensor, other: tuple[Tensor, Tensor], share: float
) -> tuple[Tensor, Tensor]:
    """`share` of a discriminant's layer, `other`, and the rest of another one, (K, P), (K,), after the discriminant's
    scores have been given the spread that the other's have on x."""
    directions, offset = other
    there = offset.isfinite()

    def spread(w: Tensor, b: Tensor) -> Tensor:
        scores = (x @ w.T + b)[:, there]
        return (scores - scores.mean(1, keepdim=True)).std(correction=0)  # of one class 0

    scale = share * spread(weight, bias) / spread(directions, offset).clamp_min(1e-12)
    offset = torch.where(there, offset, 0.0)  # the regression has made these unlikely
    return (1 - share) * weight + scale * directions, (1 - share) * bias + scale * offset
