"""Small Pyro programs whose posteriors are known in closed form, with those closed forms."""

import pyro
import pyro.distributions as dist
import torch
from pyro.nn import PyroModule, PyroParam, pyro_method
from torch import Tensor, nn
from torch.distributions import constraints

PRIOR_SD = 3.0


class NormalMean(PyroModule):
    """x_n ~ N(mu, 1), mu ~ N(0, 3^2); `size` rows in all, of which forward may see a batch."""

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(x.new_zeros(()), PRIOR_SD))
        with pyro.plate("data", self.size or len(x), subsample_size=len(x)):
            pyro.sample("x", dist.Normal(mu, 1.0), obs=x)

    @staticmethod
    def posterior(x: Tensor) -> tuple[float, float]:
        """Mean and sd of mu given x (N,)."""
        precision = len(x) + PRIOR_SD**-2
        return float(x.sum()) / precision, precision**-0.5


class ClassRates(PyroModule):
    """x_nc ~ Exp(rate_c), rate_c ~ Gamma(2, 1): rate_c | x ~ Gamma(2 + N, 1 + sum_n x_nc)."""

    dims = {"weights": ("class",)}
    coords = {"class": ["cat", "dog", "owl"]}

    def __init__(self) -> None:
        super().__init__()
        self.constant_data = {"weights": torch.ones(3)}

    def forward(self, x: Tensor) -> None:
        with pyro.plate("class", x.shape[1], dim=-1):
            rate = pyro.sample("rate", dist.Gamma(x.new_tensor(2.0), 1.0))
            with pyro.plate("data", len(x), dim=-2):
                pyro.sample("x", dist.Exponential(rate), obs=x)


class Schools(PyroModule):
    """y_j ~ N(theta_j, 1), theta_j ~ N(mu, 2^2), mu ~ N(0, 3^2): mu sees y_j ~ N(mu, 1 + 2^2)."""

    def forward(self, y: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(y.new_zeros(()), PRIOR_SD))
        with pyro.plate("school", len(y)):
            theta = pyro.sample("theta", dist.Normal(mu, 2.0))
            pyro.sample("y", dist.Normal(theta, 1.0), obs=y)

    @staticmethod
    def posterior(y: Tensor) -> tuple[float, float]:
        """Mean and sd of mu given y (J,)."""
        precision = len(y) / 5.0 + PRIOR_SD**-2
        return float(y.sum()) / 5.0 / precision, precision**-0.5


class Shares(PyroModule):
    """n ~ Multinomial(share), share ~ Dirichlet(1): share | n ~ Dirichlet(1 + n)."""

    dims = {"share": ("part",), "counts": ("part",)}

    def forward(self, counts: Tensor) -> None:
        share = pyro.sample("share", dist.Dirichlet(torch.ones(len(counts), dtype=torch.float64)))
        law = dist.Multinomial(int(counts.sum()), share, validate_args=False)
        pyro.sample("counts", law, obs=counts)


class Mixture(PyroModule):
    """A discrete label per point, which NUTS sums out."""

    def forward(self, x: Tensor) -> None:
        loc = pyro.sample("loc", dist.Normal(x.new_zeros(()), 2.0))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Bernoulli(x.new_tensor(0.5)))
            pyro.sample("x", dist.Normal(loc * z, 1.0), obs=x)


class Autoencoder(PyroModule):
    """x (N, D) from local codes z (N, 2) through a linear map, with its own amortised guide."""

    def __init__(self, dim: int = 3) -> None:
        super().__init__()
        self.config = {"dim": dim}
        self.encoder, self.decoder = nn.Linear(dim, 2), nn.Linear(2, dim)
        self.noise = PyroParam(torch.tensor(1.0), constraints.positive)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), self.noise).to_event(1), obs=x)

    @pyro_method
    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encoder(x), 0.5).to_event(1))
