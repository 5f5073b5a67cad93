"""Torch modules."""

from probact.nn.convnet import ConvNet, Epoch, accuracy, train_classifier

__all__ = ["ConvNet", "Epoch", "accuracy", "train_classifier"]
