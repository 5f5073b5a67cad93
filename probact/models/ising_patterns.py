r"""Ising model of activation patterns: fields on units and couplings of pairs.

Symbols: a (n,) in {0, 1}^n; b (n,) `field`; J (n, n) `coupling`, symmetric with a zero diagonal.

    P(a) = exp(b'a + a'J a / 2) / Z(b, J),     P(a_i = 1 | rest) = sigmoid(b_i + sum_j J_ij a_j)

Z sums 2^n terms. b and J are estimated by the pseudo-likelihood (Besag 1975), the product of the
conditionals: it is concave, needs no Z, and its maximum tends to the truth as patterns are added.
"""

from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule
from torch import Generator, Tensor
from torch.nn.functional import logsigmoid

from probact.arrays import as_bits, as_matrix, as_number, as_tensor, check_count
from probact.distributions.sphere_parameters import as_generator
from probact.models.ising_compiled.unit_sweep import unit_sweep
from probact.models.pattern_rows import num_rows, pattern_rows

__all__ = ["IsingFit", "IsingPatterns"]

_MOST_UNITS = 20  # that Z is summed for


class IsingFit(NamedTuple):
    """Where the maximisation of the penalised pseudo-likelihood ended."""

    model: "IsingPatterns"
    objective: float  # mean log pseudo-likelihood of a row less the penalty, nats
    gradient: float  # largest absolute slope left
    steps: int


class IsingPatterns(PyroModule):
    """Ising model over n units, float64.

    Args:
        field: b (n,).
        coupling: J (n, n), symmetric with zeros on its diagonal.

    Raises: TypeError or ValueError for values that are not finite, or shapes that do not fit.
    >>> model = IsingPatterns([0.0, 0.0], [[0.0, 1.0], [1.0, 0.0]])
    >>> model.log_prob([[1, 1]]).exp()  # e / (3 + e)
    tensor([0.4754], dtype=torch.float64)
    """

    field: Tensor
    coupling: Tensor

    def __init__(self, field: Any, coupling: Any) -> None:
        super().__init__()
        b, j = as_tensor(field, "field").double(), as_matrix(coupling, "coupling").double()
        if b.ndim != 1 or j.shape != (len(b), len(b)):
            shapes = tuple(b.shape), tuple(j.shape)
            raise ValueError(f"field must be (n,) and coupling (n, n), got shapes {shapes}")
        if not bool(torch.isfinite(b).all()):
            raise ValueError("field must be finite")
        if bool(j.diagonal().any()) or not torch.allclose(j, j.T, rtol=0.0, atol=1e-10):
            raise ValueError("coupling must be symmetric with zeros on its diagonal")
        self.register_buffer("field", b.clone())
        self.register_buffer("coupling", j)
        self.dims = {"a": ()}

    @classmethod
    def fit(cls, a: Any, *, penalty: float = 0.01, steps: int = 500) -> IsingFit:
        """The maximum of the mean log pseudo-likelihood less penalty / 2 (|b|^2 + sum_{i<j} J^2).

        The penalty keeps it finite for units that are always on or off. L-BFGS; see `gradient`.

        Raises: ValueError or TypeError for anything but zeros and ones, or a penalty not above 0.
        """
        bits = as_bits(a, "a")
        ridge = as_number(penalty, "penalty")
        check_count(steps, "steps")
        with torch.inference_mode(False), torch.enable_grad():
            return cls._maximised(bits.double(), ridge, steps)

    @classmethod
    def _maximised(cls, rows: Tensor, ridge: float, steps: int) -> IsingFit:
        n = rows.shape[1]
        b = rows.new_zeros(n).requires_grad_()
        pairs = rows.new_zeros(n * (n - 1) // 2).requires_grad_()
        sign, count = 2.0 * rows - 1.0, 0
        optimizer = torch.optim.LBFGS(
            [b, pairs],
            max_iter=steps,
            tolerance_grad=1e-9,
            tolerance_change=1e-14,
            history_size=30,
            line_search_fn="strong_wolfe",
        )

        def cost() -> Tensor:
            nonlocal count
            count += 1
            optimizer.zero_grad()
            matrix = _matrix(pairs, n)
            fit = logsigmoid(sign * (b + rows @ matrix)).sum(1).mean()
            value: Tensor = 0.5 * ridge * (b.square().sum() + pairs.square().sum()) - fit
            value.backward()
            return value

        optimizer.step(cost)
        objective = -float(cost().detach())
        slopes = [v.grad.abs().max() for v in (b, pairs) if v.grad is not None and len(v)]
        slope = float(torch.stack(slopes).max())
        model = cls(b.detach(), _matrix(pairs.detach(), n))
        return IsingFit(model, objective, slope, count)

    @property
    def num_units(self) -> int:
        """n."""
        return len(self.field)

    def forward(self, a: Any = None, *, num_points: int | None = None) -> Tensor:
        """Site "a" (N,), the number of each pattern in binary; for up to 20 units, as it sums Z.

        Unit 0 is the highest digit. Without a, num_points patterns are drawn.

        Raises: ValueError for more units; ValueError or TypeError for anything but zeros and ones.
        """
        table = self.log_prob(self._all_patterns())
        rows = None if a is None else self._bits(a).long() @ self._places()
        size = num_rows(rows, num_points)
        with pyro.plate("obs", size):
            drawn: Tensor = pyro.sample("a", dist.Categorical(logits=table), obs=rows)
        return drawn

    def score(self, a: Any) -> Tensor:
        """b'a + a'J a / 2 of patterns (N,), nats: log P up to log Z.

        Raises: ValueError or TypeError for anything but zeros and ones in n columns.
        """
        rows = self._bits(a).double()
        return rows @ self.field + 0.5 * (rows * (rows @ self.coupling)).sum(1)

    def log_normalizer(self) -> Tensor:
        """log Z by summation. Raises: ValueError for more than 20 units."""
        return self.score(self._all_patterns()).logsumexp(0)

    def log_prob(self, a: Any) -> Tensor:
        """log P(a) (N,), nats. Raises: as `score` and `log_normalizer`."""
        return self.score(a) - self.log_normalizer()

    def log_pseudo_likelihood(self, a: Any) -> Tensor:
        """sum_i log P(a_i | rest) (N,), nats. Raises: as `score`."""
        rows = self._bits(a).double()
        value: Tensor = logsigmoid((2.0 * rows - 1.0) * (self.field + rows @ self.coupling)).sum(1)
        return value

    def sample_patterns(
        self,
        num_samples: int,
        *,
        sweeps: int = 200,
        start: Any = None,
        generator: Generator | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """Patterns (num_samples, n), uint8: the ends of as many Gibbs chains of `sweeps` sweeps.

        Approximate: chains begin at `start` (num_samples, n), or at independent fair bits, and
        strong couplings need many sweeps. Compare two lengths. On the CPU.

        Raises: ValueError or TypeError for counts below one or a start that does not fit.
        """
        for name, count in (("num_samples", num_samples), ("sweeps", sweeps)):
            check_count(count, name)
        stream = as_generator(generator, seed, torch.device("cpu"))
        shape = num_samples, self.num_units
        if start is None:
            a = (torch.rand(shape, dtype=torch.float64, generator=stream) < 0.5).double()
        else:
            a = self._bits(start).double().cpu().contiguous()
            if a.shape != shape:
                raise ValueError(f"start must be {shape}, got {tuple(a.shape)}")
        field, coupling = (v.cpu().contiguous().numpy() for v in (self.field, self.coupling))
        for _ in range(sweeps):
            uniforms = torch.rand(shape, dtype=torch.float64, generator=stream)
            unit_sweep(a.numpy(), field, coupling, uniforms.numpy())
        return a.to(torch.uint8)

    def replicates(
        self, num_points: int, *, num_draws: int = 100, sweeps: int = 200, seed: int = 0
    ) -> Tensor:
        """Data sets (num_draws, num_points, n), uint8, each pattern from a chain of its own.

        Time goes with num_draws num_points sweeps n^2. See `sample_patterns`.
        """
        check_count(num_draws, "num_draws")
        drawn = self.sample_patterns(num_draws * num_points, sweeps=sweeps, seed=seed)
        return drawn.reshape(num_draws, num_points, self.num_units)

    def _bits(self, a: Any) -> Tensor:
        return pattern_rows(a, self.num_units)

    def _places(self) -> Tensor:
        places: Tensor = 2 ** torch.arange(self.num_units - 1, -1, -1, device=self.field.device)
        return places

    def _all_patterns(self) -> Tensor:
        """All (2^n, n) patterns, counted in binary."""
        if self.num_units > _MOST_UNITS:
            raise ValueError(
                f"log Z sums 2^n patterns: for at most {_MOST_UNITS} units, got {self.num_units};"
                " use score or log_pseudo_likelihood"
            )
        numbers = torch.arange(2**self.num_units, device=self.field.device)
        return (numbers.unsqueeze(1) & self._places() != 0).to(torch.uint8)


def _matrix(pairs: Tensor, n: int) -> Tensor:
    """The symmetric matrix of the pairs i < j."""
    i, j = torch.triu_indices(n, n, 1, device=pairs.device)
    upper = pairs.new_zeros(n, n).index_put((i, j), pairs)
    return upper + upper.T
