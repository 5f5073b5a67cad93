"""
Trained networks from files
===========================

The networks that the examples read from `ROOT/weights`, each with its images prepared as it was
trained on them. Every loader gives a network in eval mode and every `*_batches` yields
(inputs, labels), ready for `probact.capture`.

* CIFAR-10: ResNets of He et al. (2016), section 4.2, depth 6n + 2, with the weights of
  akamaster/pytorch_resnet_cifar10; images from a JPEG archive.
* MNIST: a LeNet from nandahkrishna/CaffeMNIST.
* ImageNet: torchvision's MobileNetV2 with weights dequantised from google-coral/test_data; one
  sample image a class from a JPEG archive. Its inputs are rotated by 180 degrees, which makes
  torch's symmetric padding equal to the padding that it was trained with.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from probact import datasets
from probact.files.checkpoints import read_tensors

__all__ = [
    "CIFAR10_IMAGES",
    "HEADS",
    "IMAGENET_IMAGES",
    "MOBILENET",
    "CifarResNet",
    "cifar10_batches",
    "cifar10_resnet",
    "cifar10_resnet_file",
    "imagenet_batches",
    "mnist_lenet",
    "mobilenet",
]

CIFAR10_IMAGES = "CIFAR10/cifar10_test_jpeg.npz"
HEADS = "weights/imagenet_heads.safetensors"
IMAGENET_IMAGES = "ImageNetSamples/imagenet_samples_224_jpeg.npz"
LENET = "weights/mnist_lenet.safetensors"
MNIST_TEST = "MNIST/raw/t10k-images-idx3-ubyte"
MOBILENET = "weights/imagenet_mobilenet_v2_torchvision.safetensors"
_CIFAR10_MEAN = torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1)
_CIFAR10_SCALE = torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1)


class _Block(nn.Module):
    """Two 3x3 convolutions and a shortcut without parameters (option A)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.stride = 1 if before == after else 2
        self.conv1 = nn.Conv2d(before, after, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.stride == 2:  # every other pixel, zero channels on both sides
            quarter = y.shape[1] // 4
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
        return functional.relu(y + x)


class CifarResNet(nn.Module):
    """ResNet of depth 6n + 2 for 32x32 images and ten classes, D = 64."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth must be 6n + 2, got {depth}")
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, depth // 6)
        self.layer2 = _stage(16, 32, depth // 6)
        self.layer3 = _stage(32, 64, depth // 6)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x))).mean((2, 3))  # (N, 64)
        logits: Tensor = self.linear(x)
        return logits


def _stage(before: int, after: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(_Block(before, after), *(_Block(after, after) for _ in range(blocks - 1)))


class _LeNet(nn.Module):
    """Caffe's LeNet: no nonlinearity after the convolutions, D = 500."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 20, 5), nn.Conv2d(20, 50, 5)
        self.ip1, self.ip2 = nn.Linear(800, 500), nn.Linear(500, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.conv1(x), 2)
        x = functional.max_pool2d(self.conv2(x), 2).flatten(1)
        logits: Tensor = self.ip2(functional.relu(self.ip1(x)))
        return logits


def cifar10_resnet_file(depth: int) -> str:
    """The file, under the root, of a CIFAR-10 ResNet's weights."""
    return f"weights/cifar10_resnet{depth}.safetensors"


def cifar10_resnet(root: Path, depth: int) -> nn.Module:
    """The CIFAR-10 ResNet of depth 20, 32, 44 or 56."""
    return _loaded(CifarResNet(depth), root / cifar10_resnet_file(depth))


def mnist_lenet(root: Path) -> nn.Module:
    """The MNIST LeNet; it takes pixels / 256."""
    return _loaded(_LeNet(), root / LENET)


def mobilenet(root: Path) -> nn.Module:
    """The ImageNet MobileNetV2, D = 1280, 1000 classes."""
    from torchvision.models import mobilenet_v2  # here: a second of import that few runs need

    return _loaded(mobilenet_v2(weights=None), root / MOBILENET)


def _loaded(net: nn.Module, path: Path) -> nn.Module:
    """The network with the tensors of a file, all of them, as float32."""
    net.load_state_dict({k: v.to(torch.float32) for k, v in read_tensors(path).items()})
    return net.eval()


def cifar10_batches(root: Path, *, size: int = 500) -> Iterator[tuple[Tensor, Tensor]]:
    """The CIFAR-10 test images, from lossy JPEG copies."""
    data = datasets.jpeg_archive(root / CIFAR10_IMAGES)
    for rows in torch.arange(len(data.labels)).split(size):
        yield (data.floats(rows) - _CIFAR10_MEAN) / _CIFAR10_SCALE, data.labels[rows]


def imagenet_batches(root: Path, *, size: int = 50) -> Iterator[tuple[Tensor, Tensor]]:
    """The ImageNet sample images, one a class."""
    data = datasets.jpeg_archive(root / IMAGENET_IMAGES)
    for rows in torch.arange(len(data.labels)).split(size):
        yield (2.0 * data.floats(rows) - 1.0).flip(-1, -2), data.labels[rows]
