"""Great circles between unit vectors."""

import math

import pytest
import torch

from probact.distributions.geodesic import geodesic


@pytest.mark.parametrize("angle", [1e-7, 1e-3, 0.5, 1.5, 3.0, math.pi - 1e-4])
def test_equal_steps_along_the_arc(angle: float) -> None:
    start = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
    end = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
    path = geodesic(start, end, 6)
    wanted = torch.linspace(0.0, angle, 6, dtype=torch.float64)
    torch.testing.assert_close(path[:, 0], wanted.cos(), atol=1e-12, rtol=0.0)
    torch.testing.assert_close(path[:, 1], wanted.sin(), atol=1e-12, rtol=0.0)


def test_equal_ends_and_batches() -> None:
    ends = torch.nn.functional.normalize(torch.randn(4, 5, dtype=torch.float64), dim=-1)
    path = geodesic(ends, ends[0], 3)
    assert path.shape == (3, 4, 5)
    torch.testing.assert_close(path[:, 0], ends[0].expand(3, 5))
    torch.testing.assert_close(path.norm(dim=-1), torch.ones(3, 4, dtype=torch.float64))
    torch.testing.assert_close(path[-1], ends[0].expand(4, 5))


@pytest.mark.parametrize(
    ("start", "end", "points", "words"),
    [
        (torch.eye(2)[0], -torch.eye(2)[0], 3, "opposite"),
        (torch.eye(2)[0], 2.0 * torch.eye(2)[0], 3, "end must be unit"),
        (torch.eye(2)[0], torch.eye(3)[0], 3, "differ in d"),
        (torch.eye(2)[0], torch.eye(2)[1], 1, "num_points"),
        (torch.tensor(1.0), torch.eye(2)[1], 3, "start must be unit vectors"),
    ],
)
def test_border(start: torch.Tensor, end: torch.Tensor, points: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        geodesic(start, end, points)
