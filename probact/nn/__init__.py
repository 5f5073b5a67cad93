"""Torch modules: networks, soft max-affine layers, orthogonal filters."""

from probact.nn.affine.difference import Difference
from probact.nn.affine.max_affine import MaxAffine
from probact.nn.augmentation import crop_and_flip, permuted_labels
from probact.nn.beta.beta_activations import BetaAbs, BetaLeakyReLU, BetaReLU
from probact.nn.beta.beta_annealing import anneal_beta, beta_schedule
from probact.nn.beta.beta_layer import BetaLayer
from probact.nn.beta.beta_pooling import BetaChannelPool, BetaMaxPool2d
from probact.nn.beta.softening import harden, soften
from probact.nn.conv_autoencoder import (
    ConvDecoder,
    ConvEncoder,
    SmallConvDecoder,
    SmallConvEncoder,
)
from probact.nn.convnet import ConvNet, Epoch, accuracy, train_classifier
from probact.nn.laplace_penalty import ald_penalty, ald_prox
from probact.nn.large_cnn import LargeCNN
from probact.nn.layered_convnet import Layer, LayeredConvNet, nesterov, paper_layers
from probact.nn.mlp_autoencoder import EncoderClassifier, MLPDecoder, MLPEncoder
from probact.nn.orthogonal.coherence import (
    Capacity,
    Coherence,
    capacity,
    coherence,
    interaction_coherence,
    interaction_gram,
)
from probact.nn.orthogonal.filters import orthogonalize
from probact.nn.orthogonal.network import OrthogonalNetwork, orthogonalize_network
from probact.nn.orthogonal.penalty import orthogonality_penalty
from probact.nn.selection.entmax import entmax, sparsemax
from probact.nn.selection.selections import Hard, Perturbed, Sampled, Selection, Shannon, Tsallis
from probact.nn.selection.soft_max_affine import SoftMaxAffine
from probact.nn.shifts import downsample, photometric
from probact.nn.wide_resnet import WideResNet

__all__ = [
    "BetaAbs",
    "BetaChannelPool",
    "BetaLayer",
    "BetaLeakyReLU",
    "BetaMaxPool2d",
    "BetaReLU",
    "Capacity",
    "Coherence",
    "ConvDecoder",
    "ConvEncoder",
    "ConvNet",
    "Difference",
    "EncoderClassifier",
    "Epoch",
    "Hard",
    "LargeCNN",
    "Layer",
    "LayeredConvNet",
    "MLPDecoder",
    "MLPEncoder",
    "MaxAffine",
    "OrthogonalNetwork",
    "Perturbed",
    "Sampled",
    "Selection",
    "Shannon",
    "SmallConvDecoder",
    "SmallConvEncoder",
    "SoftMaxAffine",
    "Tsallis",
    "WideResNet",
    "accuracy",
    "ald_penalty",
    "ald_prox",
    "anneal_beta",
    "beta_schedule",
    "capacity",
    "coherence",
    "crop_and_flip",
    "downsample",
    "entmax",
    "harden",
    "interaction_coherence",
    "interaction_gram",
    "nesterov",
    "orthogonality_penalty",
    "orthogonalize",
    "orthogonalize_network",
    "paper_layers",
    "permuted_labels",
    "photometric",
    "soften",
    "sparsemax",
    "train_classifier",
]
