"""The chapter's pictures."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats
from scipy.cluster import hierarchy
from scipy.spatial.distance import squareform
from torch import Tensor

from probact import plots
from probact.chapters.penultimate.measures import Measures, NetMeasures, labelled
from probact.distributions import VonMisesFisher
from probact.models import VMFClassifier
from probact.plots.style import figure_of
from probact.study import Picture, Stage, TrainedNet

__all__ = [
    "circle_picture",
    "concentration_picture",
    "cosine_picture",
    "law_picture",
    "relations_picture",
    "samples_picture",
    "stages_picture",
]

_ANGLES = np.linspace(-np.pi, np.pi, 721)
_SHOWN = 2000  # activations drawn as dots at most


def circle_picture(net: TrainedNet, class_names: Sequence[str]) -> Picture:
    """Figure 1 of the paper on this network."""
    stage = _circle_stage(net.stages[-1])._asdict()
    del stage["title"]
    ax = plots.plot_circle_activations(**stage, class_names=class_names)
    caption = (
        "Penultimate activations of held-out images in the 2-d layer (dots), their kernel density "
        "(grey lines), the class weights (rays) and the fitted vMF densities (ridges)."
    )
    return Picture("activations_on_the_circle", caption, figure_of(ax))


def stages_picture(net: TrainedNet, class_names: Sequence[str]) -> Picture:
    """Figure 2: before, during and after training."""
    stages = [_circle_stage(stage) for stage in net.stages]
    axes = plots.plot_training_stages(stages, class_names=class_names)
    caption = "The same before, during and after training."
    return Picture("training_stages", caption, figure_of(axes[0]))


def _circle_stage(stage: Stage) -> plots.CircleStage:
    a, y = labelled(stage.features)
    law = VMFClassifier.mle(stage.weight, a, y)
    around = torch.from_numpy(np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], 1))
    densities = law.class_log_prob(around).exp().T.numpy()
    x = stage.features.x.numpy()[:_SHOWN]
    low, high = x.min(0) - 0.3 * np.ptp(x, 0), x.max(0) + 0.3 * np.ptp(x, 0)  # (2,)
    across, up = np.linspace(low, high, 121).T  # (G,) each
    grid = np.stack(np.meshgrid(across, up))  # (2, G, G)
    kernel = stats.gaussian_kde(x.T)(grid.reshape(2, -1)).reshape(grid.shape[1:])
    return plots.CircleStage(
        stage.name,
        x,
        y.numpy()[:_SHOWN],
        stage.weight.numpy(),
        _ANGLES,
        densities,
        (across, up, kernel),
    )


def samples_picture(m: Measures, class_names: Sequence[str]) -> Picture:
    """Sampled beside observed activations, in the plane of the class weights' main axes."""
    weight = torch.nn.functional.normalize(m.wide.net.weight.double(), dim=1)
    axes = torch.linalg.svd(weight - weight.mean(0)).Vh[:2].T  # (D, 2)
    a, y = labelled(m.wide.net.scoring)
    count = m.samples.shape[1]
    drawn = m.samples.double().flatten(0, 1) @ axes
    labels = torch.arange(len(m.samples)).repeat_interleave(count)
    ax = plots.plot_projected_activations(
        (a @ axes).numpy(), y.numpy(), drawn.numpy(), labels.numpy(), class_names=class_names
    )[0]
    caption = (
        f"Unit activations at D = {m.wide.dim}, observed and sampled from the law's posterior "
        "predictive, projected on the first two principal axes of the class weights."
    )
    return Picture("samples", caption, figure_of(ax))


def law_picture(m: NetMeasures) -> Picture:
    """Held-out mean log density of every law."""
    ax = plots.plot_law_comparison(
        list(m.scores),
        [score.mean for score in m.scores.values()],
        [score.standard_error for score in m.scores.values()],
        reference=m.scores["tied vMF"].mean,
        reference_name="tied vMF",
    )
    caption = f"Laws of the D = {m.dim} activations, scored on the half they were not fitted to."
    return Picture("law_comparison", caption, figure_of(ax))


def cosine_picture(m: NetMeasures) -> Picture:
    """Cosine to the own weight against the tied law's marginal."""
    a, y = labelled(m.net.scoring)
    mu = torch.nn.functional.normalize(m.net.weight.double(), dim=1)
    cosines = (a * mu[y]).sum(1)
    grid = torch.linspace(min(-0.2, float(cosines.min())), 0.9999, 800, dtype=torch.float64)
    density = VonMisesFisher(mu[0], m.kappa).cosine_log_prob(grid).exp()
    name = f"tied vMF, $\\kappa$ = {m.kappa:.3g}"
    ax = plots.plot_cosine_marginal(cosines.numpy(), grid.numpy(), density.numpy(), names=[name])
    caption = f"Cosine between activation and own class weight at D = {m.dim}, scoring half."
    return Picture("cosines", caption, figure_of(ax))


def concentration_picture(m: Measures, class_names: Sequence[str]) -> Picture:
    """Posterior of kappa_i beside |w_i|."""
    norms = torch.linalg.vector_norm(m.wide.net.weight, dim=1).numpy()
    ax = plots.plot_concentration_posterior(
        m.posterior.posterior["concentration"].values, class_names=class_names, norms=norms
    )
    caption = "Posterior of each class's concentration; marked: |w_i|, the paper's literal tie."
    return Picture("concentration", caption, figure_of(ax))


def relations_picture(probs: Tensor, class_names: Sequence[str]) -> Picture:
    """Figure 3: p_T(j | i)."""
    distance = -0.5 * (probs + probs.T).log().double().numpy()
    np.fill_diagonal(distance, 0.0)
    tree = hierarchy.linkage(squareform(distance, checks=False), "average")
    ax = plots.plot_class_relations(
        probs.numpy(), order=hierarchy.leaves_list(tree), class_names=class_names
    )
    caption = (
        "How the head labels unit activations drawn for class i, p_T(j | i) (eq. 7), related "
        "classes side by side. Activations of length one and weights below it leave the softmax "
        "nearly flat: the contrasts matter, not the levels."
    )
    return Picture("class_relations", caption, figure_of(ax))
