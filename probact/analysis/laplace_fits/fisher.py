r"""Fisher information of the asymmetric Laplace law (Kotz, Kozubowski & Podgorski 2001, 3.5).

Symbols: s `scale` and kappa `asymmetry` (...), k = log kappa, lambda = 1 / s. Per observation, in
the order (m, log lambda, log kappa):

        | lambda^2        0       -lambda sech k |
    I = | 0               1       -tanh k        |
        | -lambda sech k  -tanh k  2 - tanh^2 k  |

           | 2 s^2     s sinh k       s cosh k       |
    I^-1 = | s sinh k  cosh^2 k       sinh k cosh k  |
           | s cosh k  sinh k cosh k  cosh^2 k       |

Said otherwise: log s_R and log s_L are asymptotically independent with variances 1 / (n p_R) and
1 / (n p_L), as if each side of the mode were a sample of its own from an exponential law.
"""

import torch
from torch import Tensor

__all__ = ["asymptotic_covariance", "fisher_information"]


def fisher_information(scale: Tensor, asymmetry: Tensor) -> Tensor:
    """I (..., 3, 3) per observation in (m, log lambda, log kappa).

    >>> fisher_information(torch.tensor(0.5), torch.tensor(1.0))
    tensor([[ 4.,  0., -2.],
            [ 0.,  1., -0.],
            [-2., -0.,  2.]])
    """
    k, rate = asymmetry.log(), 1.0 / scale
    mixed, tanh = -rate / k.cosh(), k.tanh()
    zero, one = torch.zeros_like(rate), torch.ones_like(rate)
    return _symmetric(rate**2, zero, mixed, one, -tanh, 2.0 - tanh**2)


def asymptotic_covariance(scale: Tensor, asymmetry: Tensor, num: int) -> Tensor:
    """Covariance (..., 3, 3) of the estimates of (m, log lambda, log kappa) from num weights.

    The mode converges slowly, its likelihood having kinks: below 1000 weights or so prefer
    `bootstrap_covariance`.

    >>> asymptotic_covariance(torch.tensor(0.5), torch.tensor(1.0), 100).diagonal()
    tensor([0.0050, 0.0100, 0.0100])
    """
    k = asymmetry.log()
    sinh, cosh = k.sinh(), k.cosh()
    rows = (2.0 * scale**2, scale * sinh, scale * cosh, cosh**2, sinh * cosh, cosh**2)
    return _symmetric(*rows) / num


def _symmetric(aa: Tensor, ab: Tensor, ac: Tensor, bb: Tensor, bc: Tensor, cc: Tensor) -> Tensor:
    rows = ([aa, ab, ac], [ab, bb, bc], [ac, bc, cc])
    return torch.stack([torch.stack(row, -1) for row in rows], -2)
