"""FID's Inception-v3 (Szegedy et al. 2015) up to pool3: the network of TensorFlow's graph of 2015-12-05.

The names of the modules are those of the published state dict. It differs from torchvision's Inception-v3 in what
Heusel et al. 2017 measured with: averages over 3 x 3 do not count the padding, the last block pools by the maximum, and
pictures are resized as TensorFlow 1 did. Any of them moves the FID, so none is a choice here.

Legend: n pictures, C channels, H W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

DIMENSION = 2048
"""Of pool3."""
SIDE = 299
Size = int | tuple[int, int]


class Conv(nn.Module):
    """Convolution without bias, batch normalisation, ReLU; the padding keeps the size unless `valid` or a stride."""

    def __init__(self, inputs: int, outputs: int, kernel: Size, stride: int = 1, *, valid: bool = False) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if valid or stride > 1 else (height // 2, width // 2)
        self.conv = nn.Conv2d(inputs, outputs, (height, width), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, H, W) -> (n, outputs, H', W')."""
        return F.relu(self.bn(self.conv(x)))


def mean_pool(x: Tensor) -> Tensor:
    """3 x 3 means of what lies inside the picture."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


class MixedA(nn.Module):
    """35 x 35: 1x1, 5x5, double 3x3 and pooled branches."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Conv(inputs, 48, 1), Conv(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inputs, 64, 1), Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3)
        self.branch_pool = Conv(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, H, W) -> (n, 224 + pooled, H, W)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, double, self.branch_pool(mean_pool(x))], 1)


class MixedB(nn.Module):
    """35 x 35 -> 17 x 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(inputs, 384, 3, 2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inputs, 64, 1), Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, H, W) -> (n, 480 + inputs, H', W')."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)], 1)


class MixedC(nn.Module):
    """17 x 17: branches with 7x7 as 1x7 and 7x1."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        wide, tall = (1, 7), (7, 1)
        self.branch1x1 = Conv(768, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = Conv(768, inside, 1), Conv(inside, inside, wide)
        self.branch7x7_3 = Conv(inside, 192, tall)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Conv(768, inside, 1), Conv(inside, inside, tall)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = Conv(inside, inside, wide), Conv(inside, inside, tall)
        self.branch7x7dbl_5 = Conv(inside, 192, wide)
        self.branch_pool = Conv(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 768, H, W) -> (n, 768, H, W)."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(mean_pool(x))], 1)


class MixedD(nn.Module):
    """17 x 17 -> 8 x 8."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Conv(768, 192, 1), Conv(192, 320, 3, 2)
        self.branch7x7x3_1, self.branch7x7x3_2 = Conv(768, 192, 1), Conv(192, 192, (1, 7))
        self.branch7x7x3_3, self.branch7x7x3_4 = Conv(192, 192, (7, 1)), Conv(192, 192, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 768, H, W) -> (n, 1280, H', W')."""
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)], 1)


class MixedE(nn.Module):
    """8 x 8: branches that split into 1x3 and 3x1. The last block of FID's network pools by the maximum."""

    def __init__(self, inputs: int, *, maximum: bool) -> None:
        super().__init__()
        wide, tall = (1, 3), (3, 1)
        self.maximum = maximum
        self.branch1x1, self.branch3x3_1 = Conv(inputs, 320, 1), Conv(inputs, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = Conv(384, 384, wide), Conv(384, 384, tall)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(inputs, 448, 1), Conv(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Conv(384, 384, wide), Conv(384, 384, tall)
        self.branch_pool = Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, H, W) -> (n, 2048, H, W)."""
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, stride=1, padding=1) if self.maximum else mean_pool(x)
        split = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        split += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *split, self.branch_pool(pooled)], 1)


class Inception(nn.Module):
    """The network without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = Conv(3, 32, 3, 2), Conv(32, 32, 3, valid=True)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Conv(64, 80, 1), Conv(80, 192, 3, valid=True)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = MixedA(192, 32), MixedA(256, 64), MixedA(288, 64)
        self.Mixed_6a = MixedB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d = MixedC(128), MixedC(160), MixedC(160)
        self.Mixed_6e = MixedC(192)
        self.Mixed_7a = MixedD()
        self.Mixed_7b, self.Mixed_7c = MixedE(1280, maximum=False), MixedE(2048, maximum=True)

    def forward(self, pictures: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n 2048"]:
        """pool3 of pictures in [0, 255]."""
        x = (resize(pictures) - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))


def resize(pictures: Float[Tensor, "n C H W"], side: int = SIDE) -> Float[Tensor, "n C side side"]:
    """Bilinear as in TensorFlow 1: output pixel i lies at i * H / side, corner to corner and no half pixel's shift."""

    def matrix(size: int) -> Tensor:
        place = torch.arange(side, dtype=torch.float64) * size / side
        low = place.long()
        weights = torch.zeros(side, size, dtype=torch.float64)
        rows = torch.arange(side)
        weights[rows, low] += 1 - (place - low)
        weights[rows, (low + 1).clamp(max=size - 1)] += place - low
        return weights.to(pictures)

    height, width = pictures.shape[-2:]
    return matrix(height) @ pictures @ matrix(width).mT


def inception_of(state: dict[str, Any]) -> Inception:
    """The network with the published weights, frozen, in evaluation mode.

    Args:
        state: name -> tensor; the classifier's are left.

    Raises:
        KeyError: a tensor is missing.
        RuntimeError: a tensor does not fit.
    """
    with torch.device("meta"):
        network = Inception()
    wanted = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    # `assign` leaves the counters of batches on "meta": evaluation mode never reads them
    network.load_state_dict({name: state[name].clone() for name in wanted}, strict=False, assign=True)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.num_batches_tracked = None
    return network.eval().requires_grad_(False)
