"""Features on disk and on the unit sphere."""

import numpy as np
import pytest
import torch
from toy_networks import Net, images

from probact.networks import Features, capture


@pytest.mark.parametrize("mmap_rows", [1, 4])
def test_memmap(tmp_path, mmap_rows):
    net, (x, y) = Net(torch.float32), images(9)
    path = tmp_path / "features.npy"
    for _ in range(2):  # the second run replaces the file
        stream = ((x[i : i + mmap_rows], y[i : i + mmap_rows]) for i in range(0, 9, mmap_rows))
        features = capture(net, stream, memmap=path)
        expected = capture(net, (x, y), batch_size=mmap_rows)
        assert torch.equal(features.x, expected.x)
        assert torch.equal(features.labels, expected.labels)
        np.testing.assert_array_equal(np.load(path), expected.x)
    features.x.zero_()
    assert np.load(path).any()  # copy on write
    held = path.read_bytes()
    x[8] = torch.nan
    with pytest.raises(ValueError, match="row 8"):
        capture(net, x, batch_size=2, memmap=path)
    assert path.read_bytes() == held
    assert [p.name for p in tmp_path.iterdir()] == ["features.npy"]
    with pytest.raises(ValueError, match="memmap"):
        capture(net, x, memmap=tmp_path / "features.bin")


def test_unit():
    x = torch.tensor(
        [[3.0, 4.0], [1e-200, 0.0], [1e200, 1e200], [5e-324, 0.0]], dtype=torch.float64
    )
    y = torch.arange(4)
    unit = Features(x, y).unit()
    root = 0.5**0.5
    expected = torch.tensor([[0.6, 0.8], [1, 0], [root, root], [1, 0]], dtype=torch.float64)
    torch.testing.assert_close(unit.x, expected, rtol=1e-15, atol=0)
    assert unit.labels is y
    assert Features(x.half()[:1]).unit().x.dtype == torch.float64
    x[2] = 0
    with pytest.raises(ValueError, match=r"1 zero row.*row 2"):
        Features(x).unit()
    x[1, 1] = torch.inf
    with pytest.raises(ValueError, match="row 1"):
        Features(x).unit()
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        Features(x[0]).unit()
    assert (lambda x, labels=None: labels)(*Features(x, y)) is y
