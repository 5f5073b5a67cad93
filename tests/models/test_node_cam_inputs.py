"""What `node_cam` refuses, in words."""

import warnings
from collections.abc import Callable

import pytest
import torch
from cam_toys import gap_net, images
from torch import Tensor, nn

from probact.models.neuron_split import node_cam, split_tree


def _mask(n: int = 32) -> Tensor:
    return torch.ones(n, dtype=torch.bool)


REFUSED: list[tuple[str, Callable[[nn.Module, Tensor], object], type[Exception], str]] = [
    ("NaN", lambda net, x: node_cam(net, x * torch.nan, 0, _mask()), ValueError, "x has 2 rows"),
    ("one image", lambda net, x: node_cam(net, x[0], 0, _mask()), ValueError, "x must be images"),
    ("bytes", lambda net, x: node_cam(net, x.to(torch.uint8), 0, _mask()), ValueError, "floats"),
    ("class", lambda net, x: node_cam(net, x, 5, _mask()), ValueError, "cls must lie in 0 to 4"),
    ("class -1", lambda net, x: node_cam(net, x, -1, _mask()), ValueError, "cls must lie"),
    ("classes", lambda net, x: node_cam(net, x, [1, 2, 3], _mask()), ValueError, "must be one"),
    ("class 1.0", lambda net, x: node_cam(net, x, 1.0, _mask()), TypeError, "cls must be whole"),
    ("class True", lambda net, x: node_cam(net, x, True, _mask()), TypeError, "cls must be whole"),
    ("empty", lambda net, x: node_cam(net, x, 0, ~_mask()), ValueError, "has no neuron"),
    ("width", lambda net, x: node_cam(net, x, 0, _mask(31)), ValueError, "n = 32 inputs"),
    ("numbers", lambda net, x: node_cam(net, x, 0, _mask().float()), TypeError, "booleans"),
    ("no tree", lambda net, x: node_cam(net, x, 0, "+++"), ValueError, "give tree="),
    ("tree and mask", lambda net, x: node_cam(net, x, 0, _mask(), tree=split_tree(net)),
     ValueError, "neurons is a mask"),
    ("no node", lambda net, x: node_cam(net, x, 0, "+" * 9, tree=split_tree(net)),
     ValueError, "no node"),
    ("other tree", lambda net, x: node_cam(net, x, 0, "+", tree=split_tree(torch.randn(5, 9))),
     ValueError, "one for each input of the head"),
    ("sign", lambda net, x: node_cam(net, x, 0, _mask(), sign=0), ValueError, "sign must be 1"),
    ("signs", lambda net, x: node_cam(net, x, 0, _mask(), sign=[1, 1]), ValueError, "sign must"),
    ("layer", lambda net, x: node_cam(net, x, 0, _mask(), layer="7.3"), LookupError, "7.3"),
    ("other net", lambda net, x: node_cam(net, x, 0, _mask(), layer=nn.ReLU()), LookupError, "no"),
    ("flat layer", lambda net, x: node_cam(net, x, 0, _mask(), layer="5"), ValueError, "no map"),
    ("the head", lambda net, x: node_cam(net, x, 0, _mask(), layer="6"), ValueError, "no map"),
    ("reshape", lambda net, x: node_cam(net, x, 0, _mask(), reshape="grid"), TypeError, "reshape"),
    ("no tokens", lambda net, x: node_cam(net, x, 0, _mask(), reshape="tokens"), ValueError,
     "no layer with a map"),
    ("noise", lambda net, x: node_cam(net, x, 0, _mask(), noise=-1.0), ValueError, "noise"),
    ("samples", lambda net, x: node_cam(net, x, 0, _mask(), num_samples=0), ValueError, "num_sam"),
    ("no net", lambda net, x: node_cam(x, x, 0, _mask()), TypeError, "net must be a torch module"),
    ("channels", lambda net, x: node_cam(net, x[:, :2], 0, _mask()), ValueError, "cannot take"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), [case[1:] for case in REFUSED],
                         ids=[case[0] for case in REFUSED])  # fmt: skip
def test_refused(
    call: Callable[[nn.Module, Tensor], object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        call(gap_net(), images())


def test_networks_without_a_map_or_a_head() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    with pytest.raises(ValueError, match="no layer with a map"):
        node_cam(flat, images(), 0, _mask(8))
    with pytest.raises(LookupError, match="no linear head"):
        node_cam(nn.Conv2d(3, 4, 3).double(), images(), 0, _mask(4))
    with torch.inference_mode():
        made = gap_net()
    with pytest.raises(ValueError, match=r"cannot take x .*Inference tensors"):
        node_cam(made, images(), 0, _mask())
    assert all(p.requires_grad for p in made.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates its own quantisation
        quantised = gap_net().float()
        quantised[6] = torch.ao.nn.quantized.dynamic.Linear(32, 5)
        with pytest.raises(ValueError, match="quantised"):
            node_cam(quantised, images().float(), 0, _mask())
