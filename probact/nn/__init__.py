"""Torch modules."""

from probact.nn.augmentation import crop_and_flip, permuted_labels
from probact.nn.convnet import ConvNet, Epoch, accuracy, train_classifier
from probact.nn.layered_convnet import Layer, LayeredConvNet, nesterov, paper_layers

__all__ = [
    "ConvNet",
    "Epoch",
    "Layer",
    "LayeredConvNet",
    "accuracy",
    "crop_and_flip",
    "nesterov",
    "paper_layers",
    "permuted_labels",
    "train_classifier",
]
