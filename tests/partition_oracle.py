"""Exact oracle for Dirichlet-process Gaussian mixtures on tiny data: all partitions, enumerated.

Shares no code with the library: numpy and scipy only, meant to be slow, short and obviously right.

* A partition is a tuple of labels in restricted-growth form: the first item has label 0 and a new
  label is always one more than the largest so far. `canonical` converts any labels to it.
* Prior on partitions: Chinese restaurant process with concentration alpha.
* Components: `NIW(mu0, kappa0, nu0, psi0)`, Sigma ~ InverseWishart(nu0, Psi0) (mean
  Psi0 / (nu0 - D - 1)), mu | Sigma ~ Normal(mu0, Sigma / kappa0). With `diagonal` there are D
  independent one-dimensional priors, each with nu = nu0 - D + 1 and psi = Psi0[i, i].
"""

from collections import Counter

import numpy as np
from scipy.special import gammaln, logsumexp, multigammaln
from scipy.stats import chi2


def canonical(labels):
    """Relabel in order of first appearance."""
    seen = {}
    return tuple(seen.setdefault(int(z), len(seen)) for z in labels)


def set_partitions(n):
    """Yield every set partition of ``range(n)`` once, as a canonical tuple."""

    def grow(prefix, k):
        if len(prefix) == n:
            yield tuple(prefix)
            return
        for z in range(k + 1):
            yield from grow([*prefix, z], max(k, z + 1))

    yield from grow([], 0)


def log_crp(labels, alpha):
    """Log probability of a partition under the CRP prior."""
    sizes = list(Counter(labels).values())
    n, k = sum(sizes), len(sizes)
    out = (k - 1) * np.log(alpha) - gammaln(alpha + n) + gammaln(alpha + 1)
    return out + sum(gammaln(s) for s in sizes)


class NIW:
    def __init__(self, mu0, kappa0, nu0, psi0, diagonal=False):
        self.mu0 = np.asarray(mu0, float)
        self.kappa0, self.nu0 = float(kappa0), float(nu0)
        self.psi0 = np.asarray(psi0, float)
        self.diagonal = diagonal
        d = self.mu0.size
        if not (self.kappa0 > 0 and self.nu0 > d - 1 and self.psi0.shape == (d, d)):
            raise ValueError("need kappa0 > 0, nu0 > D - 1 and a D x D psi0")

    def posterior(self, X):
        """Hyper-parameters after the rows of X, from the raw definition."""
        X = np.asarray(X, float).reshape(-1, self.mu0.size)
        n = X.shape[0]
        if n == 0:
            return self.mu0, self.kappa0, self.nu0, self.psi0
        xb = X.mean(0)
        S = (X - xb).T @ (X - xb)
        kn = self.kappa0 + n
        dev = xb - self.mu0
        return (
            (self.kappa0 * self.mu0 + n * xb) / kn,
            kn,
            self.nu0 + n,
            self.psi0 + S + self.kappa0 * n / kn * np.outer(dev, dev),
        )

    def log_marginal(self, X):
        """log p(X) with the parameters integrated out (closed form)."""
        X = np.asarray(X, float).reshape(-1, self.mu0.size)
        if self.diagonal:
            return sum(p.log_marginal(X[:, [i]]) for i, p in enumerate(self.coordinates()))
        n, d = X.shape
        if n == 0:
            return 0.0
        kn, nun, xb = self.kappa0 + n, self.nu0 + n, X.mean(0)
        # |A + c v v'| = |A| (1 + c v' A^-1 v): stays accurate when the data sit far from mu0
        A = self.psi0 + (X - xb).T @ (X - xb)
        L = np.linalg.cholesky(A)
        w = np.linalg.solve(L, xb - self.mu0)
        logdet = 2 * np.log(np.diag(L)).sum() + np.log1p(self.kappa0 * n / kn * (w @ w))
        return (
            -0.5 * n * d * np.log(np.pi)
            + multigammaln(nun / 2, d)
            - multigammaln(self.nu0 / 2, d)
            + 0.5 * self.nu0 * np.linalg.slogdet(self.psi0)[1]
            - 0.5 * nun * logdet
            + 0.5 * d * (np.log(self.kappa0) - np.log(kn))
        )

    def log_predictive(self, x, X):
        """log p(x | X): multivariate Student t, written from its own definition."""
        X = np.asarray(X, float).reshape(-1, self.mu0.size)
        x = np.asarray(x, float).ravel()
        if self.diagonal:
            return sum(
                p.log_predictive(x[[i]], X[:, [i]]) for i, p in enumerate(self.coordinates())
            )
        n, d = X.shape
        k, df = self.kappa0 + n, self.nu0 + n - d + 1
        xb = X.mean(0) if n else self.mu0
        # scale matrix f (A + c v v'), residual u + s v; expanded so that a huge v does no harm
        L = np.linalg.cholesky(self.psi0 + (X - xb).T @ (X - xb))
        v, u = np.linalg.solve(L, xb - self.mu0), np.linalg.solve(L, x - xb)
        c, s, f = self.kappa0 * n / k, self.kappa0 / k, (k + 1) / (k * df)
        g, b, a = v @ v, u @ v, u @ u
        q = (a + 2 * s * b + s * s * g + c * (a * g - b * b)) / (1 + c * g) / f
        logdet = d * np.log(f) + 2 * np.log(np.diag(L)).sum() + np.log1p(c * g)
        return (
            gammaln((df + d) / 2)
            - gammaln(df / 2)
            - 0.5 * d * np.log(df * np.pi)
            - 0.5 * logdet
            - 0.5 * (df + d) * np.log1p(q / df)
        )

    def coordinates(self):
        d = self.mu0.size
        return [
            NIW(self.mu0[[i]], self.kappa0, self.nu0 - d + 1, self.psi0[[i]][:, [i]])
            for i in range(d)
        ]


def blocks(labels):
    out = {}
    for i, z in enumerate(labels):
        out.setdefault(z, []).append(i)
    return list(out.values())


def log_joint(labels, X, alpha, prior):
    """log p(partition, X)."""
    return log_crp(labels, alpha) + sum(prior.log_marginal(X[b]) for b in blocks(labels))


def exact_posterior(X, alpha, prior):
    """{partition: probability} over all Bell(N) partitions.  N <= 10."""
    X = np.asarray(X, float)
    n = X.shape[0]
    if n > 10:
        raise ValueError("enumeration is limited to N <= 10")
    cache = {}

    def ml(b):
        key = tuple(b)
        if key not in cache:
            cache[key] = prior.log_marginal(X[b])
        return cache[key]

    parts = list(set_partitions(n))
    lp = np.array([log_crp(z, alpha) + sum(ml(b) for b in blocks(z)) for z in parts])
    p = np.exp(lp - logsumexp(lp))
    return dict(zip(parts, p / p.sum(), strict=False))


def exact_conditional(labels, i, X, alpha, prior):
    """Exact law of the partition after re-seating item i, by joint ratios.

    Uses only ``log_joint``; no predictive densities, counts or downdates.
    Returns {canonical partition: probability}.
    """
    rest = [z for j, z in enumerate(labels) if j != i]
    options = set()
    for z in [*sorted(set(rest)), max(rest, default=-1) + 1]:
        lab = list(labels)
        lab[i] = z
        options.add(canonical(lab))
    options = sorted(options)
    lj = np.array([log_joint(o, X, alpha, prior) for o in options])
    return dict(zip(options, np.exp(lj - logsumexp(lj)), strict=False))


def transition_matrix(site_law, n, parts=None):
    """Exact transition matrices of single-site updates.

    ``site_law(labels, i) -> {canonical partition: probability}`` is the law
    the sampler uses when it re-seats item i.  Returns (parts, [P_0..P_{n-1}]).
    """
    parts = parts or list(set_partitions(n))
    index = {z: a for a, z in enumerate(parts)}
    mats = []
    for i in range(n):
        P = np.zeros((len(parts), len(parts)))
        for z in parts:
            for y, p in site_law(z, i).items():
                P[index[z], index[canonical(y)]] += p
        mats.append(P)
    return parts, mats


def invariance_defect(site_law, post):
    """Largest |pi P_i - pi| and largest row-sum error over all sites.

    Zero (to rounding) if and only if every single-site update leaves the exact
    posterior invariant.  No random numbers, no p-values, no flakiness.
    """
    parts = list(post)
    pi = np.array([post[z] for z in parts])
    _, mats = transition_matrix(site_law, len(parts[0]), parts)
    return (
        max(np.abs(pi @ P - pi).max() for P in mats),
        max(np.abs(P.sum(1) - 1).max() for P in mats),
    )


def sample_posterior(post, size, rng):
    parts = list(post)
    idx = rng.choice(len(parts), size=size, p=np.array([post[z] for z in parts]))
    return [parts[a] for a in idx]


def frequency_test(draws, post, min_expected=5.0):
    """Pearson chi-square of INDEPENDENT partition draws; returns a p-value.

    Cells with a small expected count are pooled.  Draws must be independent:
    use ``independent_end_states``, not successive states of one chain.
    """
    n = len(draws)
    counts = Counter(canonical(z) for z in draws)
    unknown = set(counts) - set(post)
    if unknown:
        raise ValueError(f"not partitions of the data: {sorted(unknown)[:3]}")
    stat, cells, pool_e, pool_o = 0.0, 0, 0.0, 0
    for z, p in post.items():
        e, o = n * p, counts.get(z, 0)
        if e >= min_expected:
            stat, cells = stat + (o - e) ** 2 / e, cells + 1
        else:
            pool_e, pool_o = pool_e + e, pool_o + o
    if pool_e > 0:
        stat, cells = stat + (pool_o - pool_e) ** 2 / max(pool_e, 1e-300), cells + 1
    if cells < 2:
        raise ValueError("too few cells; take more draws")
    return float(chi2.sf(stat, cells - 1))


def independent_end_states(kernel, post, n_rep, n_steps, rng):
    """Start each replicate from an exact posterior draw and apply the kernel.

    If the kernel is right every end state is an exact, independent posterior
    draw, so ``frequency_test`` is calibrated whatever the mixing speed.
    ``kernel(labels, rng) -> labels``.
    """
    out = []
    for z in sample_posterior(post, n_rep, rng):
        for _ in range(n_steps):
            z = kernel(z, rng)
        out.append(canonical(z))
    return out


def demo_data(n=6, d=2, seed=0):
    """A fixed tiny data set with real posterior uncertainty."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) + np.where(np.arange(n) % 2 == 0, 1.3, -1.3)[:, None]
    return np.round(X * 64) / 64, 0.9, NIW(np.zeros(d), 0.25, d + 2.0, np.eye(d))
