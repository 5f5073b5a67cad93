"""The split tree against a slow recursion, the laws of its sizes, and what it refuses."""

import math
import warnings

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

import probact as pa
from probact.models.neuron_split import CUTS, NeuronTree, Node, split_tree
from probact.models.neuron_split.node_fit import (
    asymmetric_laplace_mode,
    exponential_pvalue,
    suffix,
)


def exponential(shape: tuple[int, int], generator: Generator) -> Tensor:
    return torch.empty(shape, dtype=torch.float64).exponential_(generator=generator)


def laplace(shape: tuple[int, int], generator: Generator) -> Tensor:
    """Asymmetric Laplace rows around zero, both sides of the same scale."""
    return (exponential(shape, generator) - exponential(shape, generator)) / 30.0


def split(weights: Tensor, **options: object) -> NeuronTree:
    """`split_tree` without the warning of the literal cut."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="cut='mode' degenerates")
        return split_tree(weights, **options)


def best_mode(x: np.ndarray) -> tuple[float, float] | None:
    """Mode and log-likelihood of the asymmetric Laplace fit, by trial of every inner value."""
    inner = np.unique(x[(x > x.min()) & (x < x.max())])
    fits = []
    for m in inner:
        a, b = np.maximum(x - m, 0).mean(), np.maximum(m - x, 0).mean()
        right, left = (math.sqrt(v) * (math.sqrt(a) + math.sqrt(b)) for v in (a, b))
        law = stats.laplace_asymmetric(math.sqrt(left / right), m, math.sqrt(left * right))
        fits.append((law.logpdf(x).sum(), m))
    return max(fits)[::-1] if fits else None


def figures_of(x: np.ndarray, d: np.ndarray, mode: tuple[float, float] | None) -> list[float]:
    """Scale, p-value and gain in BIC of a node of values x, excesses d."""
    n, law = len(x), stats.expon(scale=d.mean())
    i, z = np.arange(1, n + 1), np.sort(d)
    ad = -n - ((2 * i - 1) * (law.logcdf(z) + law.logsf(z[::-1]))).mean()
    p = exponential_pvalue(*(torch.tensor([v], dtype=torch.float64) for v in (ad, n)))
    plain = law.logpdf(d).sum()
    gain = math.nan if mode is None else 2 * (mode[1] - plain) - 2 * math.log(n)
    return [d.mean(), float(p), gain]


def cut_of(rule: str, x: np.ndarray, d: np.ndarray, mode: tuple[float, float] | None) -> float:
    """Where a node is cut, NaN where it is not."""
    if rule == "scale":
        return (x - d)[0] + d.mean()  # the anchor and the scale
    if rule == "median":
        return np.sort(x)[(len(x) - 1) // 2]
    if mode is None:
        return math.nan
    return mode[0] if rule == "mode" else x[np.argmin(np.abs(np.log(d) - best_mode(np.log(d))[0]))]


def recursion(row: np.ndarray, root: float, **rules: object) -> dict[str, tuple[Node, set[int]]]:
    """Outward and inner nodes of a class: figures and neurons."""
    found: dict[str, tuple[Node, set[int]]] = {}

    def visit(name: str, members: np.ndarray, anchor: float, parent: float) -> None:
        side = 1.0 if name[0] == "+" else -1.0
        x, n = side * row[members], len(members)
        d, mode = x - side * anchor, best_mode(x)
        scale, p, gain = figures_of(x, d, mode)
        ends = sorted((anchor, side * x.max()))
        node = Node(name, n, (ends[0], ends[1]), scale, p, gain, scale / parent)
        found[name] = node, set(members.tolist())
        if n < rules["min_size"] or len(name) == rules["max_depth"]:
            return
        if ("gof" in rules["stop"] and not p < 0.05) or ("bic" in rules["stop"] and not gain > 0):
            return
        cut = cut_of(rules["cut"], x, d, mode)
        outer, inner = members[x > cut], members[x <= cut]
        if len(outer) and len(inner):
            visit(name + name[0], outer, side * cut, scale)
            other = name + ("-" if side > 0 else "+")
            bounds = sorted((anchor, side * cut))
            blank = Node(other, len(inner), (bounds[0], bounds[1]), *(math.nan,) * 4)
            found[other] = blank, set(inner.tolist())

    for name, members in (("+", row > root), ("-", row < root)):
        if members.any():
            visit(name, np.flatnonzero(members), root, math.nan)
    return found


def rows(generator: Generator) -> Tensor:
    """Rows of many kinds, 90 weights each; the last two with ties, one of them with zeros."""
    shape = (6, 90)
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    tailed = laplace(shape, generator) * 20.0
    x = torch.stack(
        [normal[0], tailed[0] + 0.1, normal[1] ** 3 - 0.5, exponential((1, 90), generator)[0],
         (normal[2] * 4.0).round() / 4.0, tailed[1].where(normal[3] > 0.0, 0.0)]
    )  # fmt: skip
    x[1, :40] += 2.0  # two modes
    return x


@pytest.mark.parametrize("stop", ["size", "gof", "bic", ("gof", "bic")])
@pytest.mark.parametrize("root", ["zero", "mode"])
@pytest.mark.parametrize("cut", CUTS)
def test_against_a_recursion(
    cut: str, root: str, stop: str | tuple[str, ...], generator: Generator
) -> None:
    weights = rows(generator)
    rules = {"cut": cut, "stop": stop, "min_size": 6, "max_depth": 4}
    tree = split(weights, root=root, **rules)
    fits = pa.analysis.laplace_fits.fit_asymmetric_laplace(weights).loc
    for cls, row in enumerate(weights):
        centre = 0.0 if root == "zero" else float(fits[cls])
        expected = recursion(row.numpy(), centre, **rules)
        nodes = {node.name: node for node in tree.nodes(cls)}
        assert set(nodes) == set(expected) == set(tree.names(cls))
        for name, (node, members) in expected.items():
            assert set(tree.mask(cls, name).nonzero().flatten().tolist()) == members
            assert nodes[name].num == node.num == tree.sizes(name)[cls]
            assert nodes[name].interval == pytest.approx(node.interval, rel=1e-12, abs=1e-13)
            assert nodes[name][3:] == pytest.approx(node[3:], rel=1e-8, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("cut", CUTS)
def test_tails_are_the_largest_and_the_smallest_weights(cut: str, generator: Generator) -> None:
    weights = torch.randn((5, 400), generator=generator)
    tree = split(weights, cut=cut, min_size=10)
    for cls, row in enumerate(weights):
        for name in (n for n in tree.names(cls) if len(set(n)) == 1):
            size = int(tree.sizes(name)[cls])
            tail = row.topk(size, largest=name[0] == "+").indices
            assert torch.equal(tree.mask(cls, name).nonzero().flatten(), tail.sort().values)
    rough = (weights * 3.0).round() / 3.0  # ties stay together
    tree = split(rough, cut=cut, min_size=10)
    for cls, row in enumerate(rough):
        for name in (n for n in tree.names(cls) if len(set(n)) == 1):
            mask, side = tree.mask(cls, name), 1.0 if name[0] == "+" else -1.0
            assert (side * row[mask]).min() > (side * row[~mask]).max()


def test_nodes_share_out_the_neurons_and_swap_sides(generator: Generator) -> None:
    weights = laplace((3, 500), generator)
    tree, mirror = split_tree(weights), split_tree(-weights)
    swapped = str.maketrans("+-", "-+")
    for cls in range(3):
        names = tree.names(cls)
        deepest = [max((n for n in names if set(n) == {s}), key=len) for s in "+-"]
        leaves = deepest + [n for n in names if len(set(n)) == 2]
        assert torch.equal(sum(tree.mask(cls, n).int() for n in leaves), torch.ones(500).int())
        for name in names:
            other = name.translate(swapped)
            assert torch.equal(tree.mask(cls, name), mirror.mask(cls, other))
    assert tree.mask(0, "").all()
    assert tree.sizes("").tolist() == [500] * 3
    expected = torch.stack([tree.mask(c, "++") | tree.mask(c, "--") for c in range(3)])
    assert torch.equal(tree.masks("++", "--"), expected)


def test_what_a_node_is_fitted_by() -> None:
    x = torch.tensor([[-1.0, 0.0, 0.5, 1.0, 3.0]], dtype=torch.float64)
    node = suffix(x, torch.tensor([1]))
    column, h = asymmetric_laplace_mode(node, node.values)
    fit = pa.analysis.laplace_fits.fit_asymmetric_laplace(x[:, 1:])
    assert node.values[0, column] == fit.loc
    assert float(-4 * (2 * h.log() + 1)) == pytest.approx(float(fit.loglik), rel=1e-12)


def test_inputs_of_many_kinds(generator: Generator) -> None:
    weights = torch.randn((4, 300), generator=generator)
    tree = split_tree(weights)
    head = pa.find_head((weights, torch.zeros(4)))
    for same in (head, weights.numpy(), torch.nn.utils.skip_init(torch.nn.Linear, 300, 4)):
        if isinstance(same, torch.nn.Module):
            with torch.no_grad():
                same.weight.copy_(weights)
        assert torch.equal(split_tree(same).num, tree.num)
    assert split_tree(weights.half()).mask(0, "+").sum() == tree.sizes("+")[0]
    assert torch.equal(tree.mask(np.int64(2), "+"), tree.mask(2, "+"))
    many = weights.repeat(600, 1)  # several blocks
    assert torch.equal(split_tree(many).num, tree.num.repeat(600, 1, 1))
    frame = tree.to_frame()
    assert list(frame.columns) == ["class", "name", "num", "low", "high", *Node._fields[3:]]
    assert len(frame) == sum(len(tree.names(cls)) for cls in range(4))
    part = frame[(frame["class"] == 2) & (frame["name"] == "++")].iloc[0]
    assert part["num"] == tree.sizes("++")[2]
    assert part["low"] == float(tree.anchor[2, 0, 1])
    weights[0, 0] = 5.0  # the tree keeps the weights it was made of
    assert not torch.equal(weights, tree.weights)


def test_constant_rows_and_rows_of_one_sign() -> None:
    weights = torch.tensor([[2.0] * 40, [0.0] * 40, [*range(1, 41)], [-1.0] * 39 + [3.0]])
    for root in ("zero", "mode"):
        for cut in CUTS:
            tree = split(weights, root=root, cut=cut, min_size=2)
            assert tree.degenerate.tolist() == [True, True, False, False]
            assert tree.names(1) == ()
            assert tree.names(0) == (("+",) if root == "zero" else ())
            assert tree.to_frame()["num"].ge(1).all()
            assert len(tree.nodes(2)) > 2
    tree = split_tree(torch.zeros(2, 5))
    assert tree.depth == 1
    assert tree.sizes("+").tolist() == [0, 0]
    assert tree.to_frame().empty


BAD = [
    ({"root": "median"}, "root must be"),
    ({"cut": "mean"}, "cut must be"),
    ({"stop": "never"}, "stop must be"),
    ({"stop": ()}, "stop must be"),
    ({"stop": ("size", "aic")}, "stop must be"),
    ({"min_size": 1}, "min_size"),
    ({"max_depth": 0}, "max_depth"),
    ({"level": 1.0}, "level"),
    ({"level": 0.0}, "level"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_tree(torch.randn(2, 50), **options)


def test_bad_weights() -> None:
    weights = torch.randn(3, 50)
    weights[1, 7] = torch.nan
    with pytest.raises(ValueError, match=r"first: row 1, index \(7,\)"):
        split_tree(weights)
    for bad in (torch.randn(50), torch.randn(2, 2), torch.zeros(0, 5)):
        with pytest.raises(ValueError, match="weights must"):
            split_tree(bad)
    with pytest.raises(ValueError, match="floating"):
        split_tree(torch.ones(2, 5, dtype=torch.int8))
    with pytest.raises(LookupError):
        split_tree(torch.nn.ReLU())


def test_unknown_nodes() -> None:
    tree = split_tree(torch.randn((3, 60), generator=Generator().manual_seed(1)), min_size=20)
    with pytest.raises(ValueError, match=r"class 0 has no node '\+{7}'; it has: \+, \+-, \+\+"):
        tree.mask(0, "+++++++")
    with pytest.raises(ValueError, match="one sign repeated"):
        tree.mask(0, "+-+")
    with pytest.raises(ValueError, match="one sign repeated"):
        tree.sizes("top")
    with pytest.raises(TypeError, match="name must be text"):
        tree.mask(0, 3)
    for cls in (3, -1, True, 0.0):
        with pytest.raises(ValueError, match="cls must be"):
            tree.mask(cls, "+")
    with pytest.raises(ValueError, match="names must hold"):
        tree.masks()
    with pytest.raises(ValueError, match="class 0 has no node"):
        tree.masks("+", "+++++++")


@pytest.mark.gpu
def test_on_a_gpu(generator: Generator) -> None:
    weights = torch.randn((5, 400), generator=generator)
    here, there = split_tree(weights, cut="log_mode"), split_tree(weights.cuda(), cut="log_mode")
    assert there.anchor.is_cuda
    assert torch.equal(there.num.cpu(), here.num)
    assert torch.equal(there.masks("+", "--").cpu(), here.masks("+", "--"))
