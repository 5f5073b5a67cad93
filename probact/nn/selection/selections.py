r"""Selections: how the scores of a unit's regions become a point of the simplex.

Symbols: a (..., R) scores; t (..., R) selection; beta in (0, 1); eta = beta / (1 - beta) inverse
temperature, 1 / sigma^2 of the mixture; H entropy in nats; F (...) free energy
max_t <t, a> + H(t) / eta, so that dF/da = t. Balestriero & Baraniuk, "From Hard to Soft", ICLR
2019, eqs. 7 to 9 and theorem 3; Tsallis, perturbed and sampled selections are ours.

log eta has shape () or one that broadcasts with the units: (K,) for a (..., K, R), (C, 1, 1) for
images. Scores of -inf are absent regions, with t = 0. float16 and
bfloat16 scores are computed in float32 and rounded back. A row with NaN gives NaN.
"""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from probact.arrays import as_number
from probact.nn.selection.entmax import entmax_bisect, entmax_of_order, tsallis_entropy
from probact.nn.selection.inverse_temperature import widened
from probact.nn.selection.tempered_selection import Selection, TemperedSelection, check_scores

__all__ = ["Hard", "Perturbed", "Sampled", "Selection", "Shannon", "Tsallis", "straight_through"]


class Hard(Selection):
    """The limit beta -> 1: uniform over the regions of largest score. F is the maximum.

    >>> Hard()(torch.tensor([1.0, 3.0, 3.0]))
    tensor([0.0000, 0.5000, 0.5000])
    """

    def forward(self, scores: Tensor) -> Tensor:
        check_scores(scores)
        top = (scores == scores.amax(-1, keepdim=True)).to(scores.dtype)
        return top / top.sum(-1, keepdim=True)  # 0 / 0 for a row with NaN

    def free_energy(self, scores: Tensor) -> Tensor:
        check_scores(scores)
        return scores.amax(-1)


class Shannon(TemperedSelection):
    """beta-VQ: t = softmax(eta a) = argmax_t beta <t, a> + (1 - beta) H(t). Eq. 8, theorem 3.

    F = logsumexp(eta a) / eta; max a <= F <= max a + log(R) / eta. beta = 1/2 is the posterior of
    the mixture with sigma = 1 (eq. 7), beta -> 0 the uniform selection.

    >>> Shannon(beta=0.5)(torch.tensor([0.0, 1.0])).detach()
    tensor([0.2689, 0.7311])
    """

    def forward(self, scores: Tensor) -> Tensor:
        s, _, _ = self._scaled(scores)
        return torch.softmax(s, -1).to(scores.dtype)

    def free_energy(self, scores: Tensor) -> Tensor:
        s, top, eta = self._scaled(scores)
        return (top + s.logsumexp(-1, keepdim=True) / eta).squeeze(-1).to(scores.dtype)


class Tsallis(TemperedSelection):
    """t = argmax_t <t, eta a> + H_alpha(t): entmax of order alpha > 1, with exact zeros.

    alpha = 2 is sparsemax: with eta = 1/3 the expectation of a ReLU unit is `F.hardswish`, its
    probability `F.hardsigmoid`. alpha = 1 is `Shannon`. F = <t, a> + H_alpha(t) / eta.

    Args:
        alpha: order; closed forms at 1.5 and 2, bisection otherwise.
        learnable_alpha: alpha = 1 + sigmoid(order_logit), for alpha in (1, 2).
        beta, log_eta, learnable, dtype: as `TemperedSelection`.

    Raises:
        TypeError, ValueError: as `TemperedSelection`; alpha <= 1, or >= 2 where it is learned.

    >>> Tsallis(2.0)(torch.tensor([0.0, 0.5])).detach()
    tensor([0.2500, 0.7500])
    """

    def __init__(
        self,
        alpha: float,
        beta: float | Tensor | None = None,
        *,
        log_eta: float | Tensor | None = None,
        learnable: bool = True,
        learnable_alpha: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(beta, log_eta=log_eta, learnable=learnable, dtype=dtype)
        alpha = as_number(alpha, "alpha", -math.inf)
        if alpha <= 1.0:
            raise ValueError(f"alpha must be above 1, got {alpha:g}; alpha = 1 is Shannon()")
        if learnable_alpha and alpha >= 2.0:
            raise ValueError(f"a learnable alpha must lie in (1, 2), got {alpha:g}")
        self._order = alpha - 1.0
        logit = (
            torch.tensor(math.log(self._order) - math.log1p(-self._order))
            if (learnable_alpha)
            else None
        )
        self.order_logit = None if logit is None else nn.Parameter(logit.to(self.log_eta.dtype))

    @property
    def alpha(self) -> float | Tensor:
        """Order, a 0-d tensor where it is learned."""
        return self._order + 1.0 if self.order_logit is None else 1.0 + self.order_logit.sigmoid()

    def _order_like(self, s: Tensor) -> float | Tensor:
        if self.order_logit is None:
            return self._order
        return self.order_logit.sigmoid().to(s.dtype)

    def _select(self, s: Tensor) -> Tensor:
        if self.order_logit is None:
            return entmax_of_order(s, self._order)
        return entmax_bisect(s, self._order_like(s))

    def forward(self, scores: Tensor) -> Tensor:
        s, _, _ = self._scaled(scores)
        return self._select(s).to(scores.dtype)

    def free_energy(self, scores: Tensor) -> Tensor:
        s, top, eta = self._scaled(scores)
        t = self._select(s)
        inner = (t * s.masked_fill(torch.isneginf(s), 0.0)).sum(-1)
        value = inner + tsallis_entropy(t, self._order_like(s))
        return (top.squeeze(-1) + value / eta.squeeze(-1)).to(scores.dtype)

    def extra_repr(self) -> str:
        alpha = self.alpha if isinstance(self.alpha, float) else self.alpha.item()
        return f"alpha={alpha:.4g}, {super().extra_repr()}"


class Perturbed(TemperedSelection):
    """Random utility for R = 2: t_2 = P(a_2 + xi / eta > a_1) = G(eta (a_2 - a_1)).

    xi is noise whose mirror image -xi has the distribution function G. For a ReLU unit z = u G(u):
    "normal" gives GELU, "logistic" `Shannon`, "uniform" (on [-3, 3]) `F.hardswish`, "cauchy"
    u (1/2 + atan(u) / pi). Jitter N(0, s^2 I) of the input is "normal" with
    eta = 1 / (s |A_2 - A_1|). ELU and SELU are not u times a distribution function.

    F = E max(a_1, a_2 + xi / eta) is known for "normal", "logistic" and "uniform"; it is infinite
    for "cauchy". It lies above the maximum, though not within log(2) / eta of it.

    Args:
        cdf: a name above, or G as a function of a tensor, increasing from 0 to 1.
        beta, log_eta, learnable, dtype: as `TemperedSelection`.

    Raises:
        TypeError, ValueError: as `TemperedSelection`; an unknown name, or a function that leaves
            [0, 1], decreases or returns another shape.

    >>> u = torch.tensor([0.0, 1.5])
    >>> t = Perturbed("normal")(torch.stack([torch.zeros(2), u], -1))
    >>> torch.allclose(u * t[:, 1], nn.functional.gelu(u))
    True
    """

    def __init__(
        self,
        cdf: str | Callable[[Tensor], Tensor] = "normal",
        beta: float | Tensor | None = None,
        *,
        log_eta: float | Tensor | None = None,
        learnable: bool = True,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(beta, log_eta=log_eta, learnable=learnable, dtype=dtype)
        if not callable(cdf) and cdf not in _CDFS:
            raise ValueError(f"cdf must be {', '.join(_CDFS)} or a function, got {cdf!r}")
        if callable(cdf):
            _check_cdf(cdf)
        self.cdf = cdf

    def forward(self, scores: Tensor) -> Tensor:
        s = self._score_gap(scores)[0]
        if callable(self.cdf):
            second = self.cdf(s)
            first = 1.0 - second
        else:
            first, second = _CDFS[self.cdf](-s), _CDFS[self.cdf](s)  # symmetric: no digit is lost
        return torch.stack([first, second], -1).to(scores.dtype)

    def free_energy(self, scores: Tensor) -> Tensor:
        if callable(self.cdf) or self.cdf not in _INTEGRALS:
            raise ValueError(f"free_energy is known for {', '.join(_INTEGRALS)}, not {self.cdf!r}")
        s, a, eta = self._score_gap(scores)
        return (a[..., 0] + _INTEGRALS[self.cdf](s) / eta).to(scores.dtype)

    def _score_gap(self, scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """eta (a_2 - a_1) (...), a and eta, at least in float32."""
        check_scores(scores)
        if scores.shape[-1] != 2:
            raise ValueError(f"Perturbed needs R = 2 regions, got shape {tuple(scores.shape)}")
        a = widened(scores)
        self._check_units(a.shape[:-1])
        eta = self.eta.to(a.dtype)
        return eta * (a[..., 1] - a[..., 0]), a, eta

    def extra_repr(self) -> str:
        return f"cdf={self.cdf!r}, {super().extra_repr()}"


class Sampled(Selection):
    """One region at random, t one-hot with probabilities of another selection.

    The gradient is that of the probabilities (straight-through, as in
    `OneHotCategoricalStraightThrough`). Draws come from torch's global stream, as dropout's do,
    or from the generator given; they are made in training and evaluation alike.

    Args:
        selection: of the probabilities; default Shannon().

    Raises: TypeError where `selection` is no selection.

    >>> Sampled()(torch.tensor([0.0, 50.0])).detach()
    tensor([0., 1.])
    """

    def __init__(self, selection: Selection | None = None) -> None:
        super().__init__()
        self.selection = Shannon() if selection is None else selection
        if not isinstance(self.selection, Selection) or isinstance(self.selection, Sampled):
            raise TypeError(f"selection must be a selection, got {type(selection).__name__}")

    def forward(self, scores: Tensor, *, generator: Generator | None = None) -> Tensor:
        probs: Tensor = self.selection(scores)
        return straight_through(probs, generator)

    def free_energy(self, scores: Tensor) -> Tensor:
        """F of the selection that gives the probabilities."""
        return self.selection.free_energy(scores)


def straight_through(probs: Tensor, generator: Generator | None = None) -> Tensor:
    """One-hot draws of probs (..., R), with the gradient of probs."""
    p = widened(probs.detach())
    race = p / torch.empty_like(p).exponential_(generator=generator)  # won by r with prob p_r
    code = nn.functional.one_hot(race.argmax(-1), p.shape[-1]).to(probs.dtype)
    drawn: Tensor = code + (probs - probs.detach())
    return drawn


def _cauchy_cdf(s: Tensor) -> Tensor:
    return torch.atan2(torch.ones_like(s), -s) / math.pi  # small tails keep their digits


def _normal_integral(s: Tensor) -> Tensor:
    density = torch.exp(-0.5 * s.square()) / math.sqrt(2.0 * math.pi)
    value: Tensor = s * torch.special.ndtr(s) + density
    return value


def _uniform_integral(s: Tensor) -> Tensor:
    return (s.clamp(-3.0, 3.0) + 3.0).square() / 12.0 + (s - 3.0).clamp_min(0.0)


def _softplus(s: Tensor) -> Tensor:
    return torch.logaddexp(s, torch.zeros_like(s))


_CDFS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": torch.special.ndtr,
    "logistic": torch.sigmoid,
    "uniform": lambda s: ((s + 3.0) / 6.0).clamp(0.0, 1.0),
    "cauchy": _cauchy_cdf,
}
_INTEGRALS: dict[str, Callable[[Tensor], Tensor]] = {  # of the cdf from -infinity to s
    "normal": _normal_integral,
    "logistic": _softplus,
    "uniform": _uniform_integral,
}


def _check_cdf(cdf: Callable[[Tensor], Tensor]) -> None:
    grid = torch.linspace(-40.0, 40.0, 401, dtype=torch.float64)
    value = cdf(grid)
    if not isinstance(value, Tensor) or value.shape != grid.shape:
        raise ValueError("cdf must map a tensor to a tensor of the same shape")
    if not bool(((value >= 0.0) & (value <= 1.0)).all()) or bool((value.diff() < -1e-12).any()):
        raise ValueError("cdf must increase within [0, 1]; its values on [-40, 40] do not")
