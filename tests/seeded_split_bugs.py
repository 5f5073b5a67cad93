"""Bugs to seed in the split of neurons and the heads with some weights only; see `seeded_bugs`."""

from seeded_bugs import seeded

__all__ = ["SPLIT_BUGS"]

TREE = "models/test_split_tree.py::"
LAWS = "models/test_split_tree_laws.py::"
HEADS = "models/test_neuron_pruning.py::"
FOLDER = "models/neuron_split"

SPLIT_BUGS = [
    *seeded(
        f"{FOLDER}/node_fit.py",
        f"{TREE}test_against_a_recursion",
        ("mode of a node at its ends", "(node.values > least) &", "(node.values >= least) &"),
        (
            "weights of the parent counted",
            "held = torch.where(self.inside, values, 0.0)",
            "held = values",
        ),
        ("ranks from zero", "position - start[:, None] + 1)", "position - start[:, None])"),
        ("node's own weight on both sides", "(total - after)).clamp", "total).clamp"),
    ),
    *seeded(
        f"{FOLDER}/node_fit.py",
        f"{LAWS}test_anderson_darling_pvalues",
        ("null of a known scale", "(1.0 + 0.6 / num)", "(0.6 + 0.6 / num)"),
        (
            "distance without its upper half",
            "(node.num - node.rank) + 1.0) * z",
            "(node.num - node.rank)) * z",
        ),
    ),
    *seeded(
        f"{FOLDER}/growth.py",
        f"{TREE}test_against_a_recursion",
        ("one parameter for two", "- 2.0 * num.log()", "- num.log()"),
        ("gain of half the size", "2.0 * num * (scale.log()", "num * (scale.log()"),
        (
            "goodness of fit taken for its opposite",
            "on &= pvalue < rules.level",
            "on &= pvalue > rules.level",
        ),
        (
            "ties go outwards",
            "bound[:, None].contiguous(), right=True)",
            "bound[:, None].contiguous())",
        ),
        (
            "logs cut at the plain mode",
            "logs = torch.where(node.inside, excess, 1.0).log()",
            "logs = excess",
        ),
        (
            "upper median",
            "(ordered.shape[1] - start - 1).clamp(min=0) // 2",
            "(ordered.shape[1] - start).clamp(min=0) // 2",
        ),
    ),
    *seeded(
        f"{FOLDER}/growth.py",
        f"{LAWS}test_sizes_under_the_law",
        (
            "cut at the mean excess from zero",
            "        at = anchor + scale\n",
            "        at = scale\n",
        ),
    ),
    *seeded(
        f"{FOLDER}/split_tree.py",
        f"{TREE}test_against_a_recursion",
        (
            "left side in ascending order",
            "grow((-x).flip(-1), -start, rules)",
            "grow(x - 2.0 * x, -start, rules)",
        ),
        ("left cuts with the right's sign", "anchor=-left.anchor", "anchor=left.anchor"),
    ),
    *seeded(
        f"{FOLDER}/neuron_tree.py",
        f"{TREE}test_nodes_share_out_the_neurons_and_swap_sides",
        (
            "inner node with the outer",
            "& ~mask if inner else mask\n\n    def masks",
            "if inner else mask\n\n    def masks",
        ),
        ("last name only", "kept |= self._beyond", "kept = self._beyond"),
    ),
    *seeded(
        f"{FOLDER}/neuron_tree.py",
        f"{TREE}test_inputs_of_many_kinds",
        (
            "frame of the first class",
            '"class": cls, "name": node.name',
            '"class": 0, "name": node.name',
        ),
    ),
    *seeded(
        f"{FOLDER}/pruning.py",
        f"{HEADS}test_keep_only_by_hand {HEADS}test_recentring_keeps_the_mean_scores",
        (
            "recentred by the kept",
            "torch.where(kept, 0.0, found.weight.double())",
            "torch.where(kept, found.weight.double(), 0.0)",
        ),
        ("bias lost", "found.bias.double() + dropped", "dropped"),
        ("sum in place of the mean", "found.weight).mean(0)", "found.weight).sum(0)"),
    ),
    *seeded(
        f"{FOLDER}/pruning.py",
        f"{HEADS}test_prune_head_by_hand {HEADS}test_prune_head_against_loops",
        (
            "largest first",
            "groups.argsort(dim=1, stable=True)",
            "groups.argsort(dim=1, stable=True, descending=True)",
        ),
        (
            "per class over the head",
            'scores if method == "magnitude_per_class" else',
            'scores if method == "none" else',
        ),
        ("0.29 of 100 is 28", "share * groups.shape[1] + 1e-9", "share * groups.shape[1]"),
        (
            "signed contributions",
            "theta.abs() * _features(features, theta).abs()",
            "theta * _features(features, theta).abs()",
        ),
        ("rates swapped", "right * offset, -left * offset", "left * offset, -right * offset"),
    ),
]
