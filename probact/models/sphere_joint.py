"""log p(x, z | y) of a hyperspherical VAE at draws of the code.

Symbols: z (s, n, d) draws for n images x (n, C, H, W) of zeros and ones; y (N,) labels.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from probact.models.evidence import pixel_log_prob

__all__ = ["SphereJoint"]


class SphereJoint(NamedTuple):
    """The joint densities that importance sampling needs, in nats.

    logits(z (m, d), labels (m,) | None) are the decoder's; sees_labels says whether it uses them.
    """

    prior: Any  # UniformPrior, LawPrior or ClassPrior
    logits: Callable[[Tensor, Tensor | None], Tensor]
    class_probs: Tensor | None  # (C,)
    sees_labels: bool

    def of(self, labels: Tensor | None) -> Callable[[Tensor, Tensor, slice], Tensor]:
        """log p(x, z | y) (s, n) for the rows of known labels, or of a model without them."""

        def joint(z: Tensor, x: Tensor, rows: slice) -> Tensor:
            own = None if labels is None else labels[rows]
            log_prior: Tensor = self.prior.law(own).log_prob(z)
            return self._decoded(z, x, own) + log_prior

        return joint

    def classes(self, z: Tensor, x: Tensor, rows: slice) -> Tensor:
        """log p(x, z | i) (s, n, C) for every class."""
        log_prior: Tensor = self.prior.class_log_prob(z)  # (s, n, C or 1)
        if not self.sees_labels:
            return self._decoded(z, x, None).unsqueeze(-1) + log_prior
        assert self.class_probs is not None
        every = torch.arange(len(self.class_probs), device=x.device)
        scores = [self._decoded(z, x, i.expand(len(x))) for i in every]
        return torch.stack(scores, -1) + log_prior

    def marginal(self, z: Tensor, x: Tensor, rows: slice) -> Tensor:
        """log p(x, z) (s, n), the class summed out."""
        assert self.class_probs is not None
        return torch.logsumexp(self.classes(z, x, rows) + self.class_probs.log(), -1)

    def _decoded(self, z: Tensor, x: Tensor, labels: Tensor | None) -> Tensor:
        """log p(x | z, y) (s, n)."""
        own = None if labels is None else labels.expand(z.shape[:2]).flatten()
        return pixel_log_prob(self.logits(z.flatten(0, 1), own).unflatten(0, z.shape[:2]), x)
