"""Torch modules."""

from probact.nn.augmentation import crop_and_flip, permuted_labels
from probact.nn.conv_autoencoder import (
    ConvDecoder,
    ConvEncoder,
    SmallConvDecoder,
    SmallConvEncoder,
)
from probact.nn.convnet import ConvNet, Epoch, accuracy, train_classifier
from probact.nn.layered_convnet import Layer, LayeredConvNet, nesterov, paper_layers
from probact.nn.mlp_autoencoder import EncoderClassifier, MLPDecoder, MLPEncoder
from probact.nn.shifts import downsample, photometric
from probact.nn.wide_resnet import WideResNet

__all__ = [
    "ConvDecoder",
    "ConvEncoder",
    "ConvNet",
    "EncoderClassifier",
    "Epoch",
    "Layer",
    "LayeredConvNet",
    "MLPDecoder",
    "MLPEncoder",
    "SmallConvDecoder",
    "SmallConvEncoder",
    "WideResNet",
    "accuracy",
    "crop_and_flip",
    "downsample",
    "nesterov",
    "paper_layers",
    "permuted_labels",
    "photometric",
    "train_classifier",
]
