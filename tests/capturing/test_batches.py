"""Every usual form of data gives the same features; what does not fit is refused in words."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from toy_networks import Net, by_hand, images

from probact.networks import Features, capture


def dictionaries(x, y):
    return [{"image": x[:4], "label": y[:4], "id": y[:4]}, {"image": x[4:], "label": y[4:]}]


FORMS = {
    "pair": lambda x, y: (x, y),
    "features": Features,
    "arrays": lambda x, y: (x.numpy(), y.numpy()),
    "dataset": TensorDataset,
    "loader": lambda x, y: DataLoader(TensorDataset(x, y), batch_size=3),
    "dictionaries": dictionaries,
    "usual name": lambda x, y: [{"pixel_values": x, "labels": y}],
    "numpy batches": lambda x, y: [(x.numpy(), y.numpy().astype(np.uint8))],
    "generator": lambda x, y: ([x[i : i + 1], y[i : i + 1]] for i in range(len(x))),
    "int32 labels": lambda x, y: (x, y.int()),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_data(form):
    net, (x, y) = Net(), images()
    features = capture(net, FORMS[form](x, y), batch_size=3)
    torch.testing.assert_close(features.x, by_hand(net, x)[0])
    assert features.labels.dtype == torch.int64
    assert torch.equal(features.labels, y)


def test_streamed_dataset():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(zip(*images(), strict=True))

    assert capture(Net(), Stream(), batch_size=2).x.shape == (7, 5)


def test_named_inputs_go_to_forward():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = nn.Linear(3, 2)

        def forward(self, input_ids, attention_mask=None):
            return self.classifier(input_ids.float() * attention_mask)

    ids, mask = torch.arange(6).reshape(2, 3), torch.ones(2, 3)
    data = [{"input_ids": ids, "attention_mask": 2 * mask, "labels": torch.tensor([1, 0])}]
    assert torch.equal(capture(Two(), data).x, 2.0 * ids)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (torch.rand(7), "must be integers, got dtype torch.float32"),
        (torch.ones(7, dtype=torch.bool), "must be integers"),
        (torch.ones(6, dtype=torch.int64), r"shape \(7,\), got \(6,\)"),
        (torch.ones(7, 2, dtype=torch.int64), r"got \(7, 2\)"),
        (np.array(["a"] * 7), "labels must hold real numbers"),
        (np.full(7, 2**63, dtype=np.uint64), "beyond the range"),
    ],
)
def test_labels_that_do_not_fit(labels, reason):
    x, _ = images()
    with pytest.raises(ValueError, match=reason):
        capture(Net(), (x, labels))
    with pytest.raises(ValueError, match=rf"(?s){reason}.*batches of x alone"):
        capture(Net(), [(x, labels)])


def test_data_that_is_none():
    net = nn.Linear(4, 2)
    for empty in (torch.zeros(0, 4), [], TensorDataset(torch.zeros(0, 4))):
        with pytest.raises(ValueError, match="no rows"):
            capture(net, empty)
    for wrong in (None, "data.npy", {"x": torch.zeros(2, 4)}, 3):
        with pytest.raises(TypeError, match="data must be"):
            capture(net, wrong)
    x, y = torch.zeros(2, 4), torch.arange(2)
    with pytest.raises(ValueError, match="3 parts"):
        capture(net, [(x, y, y)])
    with pytest.raises(ValueError, match=r"first: row 2"):
        capture(net, [(x, y), (x,)])
    with pytest.raises(ValueError, match="cannot tell the input"):
        capture(net, [{"a": x, "b": x}])
    with pytest.raises(ValueError, match=r"cannot take data from row 0 on \(\(2, 3\)"):
        capture(nn.Sequential(net), torch.zeros(2, 3), layer="0")
    with pytest.raises(TypeError, match="net must be"):
        capture(torch.zeros(2, 3), x)
    for option in ({"batch_size": 0}, {"batch_size": True}, {"dtype": torch.float16}):
        with pytest.raises(ValueError, match=next(iter(option))):
            capture(net, x, **option)
