"""Checks of a replay: values at 1e-12, and the Jacobian of autograd."""

import torch

from probact.analysis.patterns import check_affine, frozen, record


def largest(x):
    return float(x.detach().abs().max())


def replayed(net, x):
    """Replays on x and on 0, and the pattern, after checks of values at 1e-12."""
    with torch.no_grad():
        y = net(x.clone())
        with record(net) as recording:
            assert torch.equal(net(x.clone()), y)
        again = frozen(net, recording.pattern)(x.clone())
        assert largest(again - y) <= 1e-12 * max(1.0, largest(y))
    return recording.pattern


def input_gradients(function, x, direction):
    x = x.clone().requires_grad_()
    (function(x) * direction).sum().backward()
    return x.grad


def check_jacobian(net, pattern, x):
    """Vector-Jacobian products of the replay, at 0 and far from x, are those of the network."""
    direction = torch.randn(net(x.clone()).shape, dtype=x.dtype)
    expected = input_gradients(net, x, direction)
    for at in (torch.zeros_like(x), 10.0 * torch.randn_like(x)):
        found = input_gradients(frozen(net, pattern), at, direction)
        assert largest(found - expected) <= 1e-12 * max(1.0, largest(expected))
    check_affine(net, pattern, x)
