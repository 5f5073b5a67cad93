"""Networks that hooks on modules misread, for the tests of activation patterns."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


class Call(nn.Module):
    """A network that is one function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Hostile(nn.Module):
    """In place, one module used three times, functions, methods, residual sums, clamps, pools."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.prelu = nn.PReLU(6)
        self.six = nn.ReLU6(inplace=True)
        self.head = nn.Linear(6 * 4 * 4, 5)

    def forward(self, x):
        x = self.act(self.bn(self.first(x)))
        x = torch.relu(self.second(x) + x)
        x = self.act(self.second(x)).abs()
        x = F.leaky_relu(x - 0.1, 0.2)
        x = F.max_pool2d(self.prelu(x), 3, 2, 1)
        skip = x
        self.act(x.sub_(0.3))  # changes skip as well
        x = self.six(skip + self.second(x)).clamp(0.01, 4.0)
        return self.head(F.max_pool2d(x.relu_(), 2, stride=1).flatten(1))


def hostile():
    torch.manual_seed(0)
    net = Hostile().double().eval()
    net.bn.running_mean.normal_()
    net.bn.running_var.uniform_(0.5, 2.0)
    return net, torch.randn(4, 2, 10, 10, dtype=torch.float64)


class _Block(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.stride, self.pad = stride, (outside - inside) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        skip = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + skip)


class ResNet20(nn.Module):
    """He et al. 2016, section 4.2, with shortcuts that have no parameters."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths, parts = [16, 16, 32, 64], []
        for i in range(3):
            blocks = [_Block(widths[i], widths[i + 1], 1 if i == 0 else 2)]
            blocks += [_Block(widths[i + 1], widths[i + 1], 1) for _ in range(2)]
            parts.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = parts
        self.linear = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def stirred(net):
    """Running statistics as after training, so that BatchNorm does something."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return net.eval()


def mlp(*widths, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
    parts = [part for layer in layers for part in (layer, nn.ReLU())][:-1]
    return nn.Sequential(*parts).double().eval()
