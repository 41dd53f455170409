"""The distance of two pictures in the features of VGG19, as in ESRGAN and Real-ESRGAN."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from streamsr.errors import ConfigError, WeightsError
from streamsr.models.catalog import Entry
from streamsr.models.pull import pull

FILE = "vgg19-dcbb9e9d.pth"
URL = f"https://download.pytorch.org/models/{FILE}"
LAYERS = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
"""Index among torchvision's features -> weight: conv1_2, conv2_2, conv3_4, conv4_4, conv5_4, before their ReLU."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PULL = "pull"
WITHOUT = "loss.perceptual=0 goes without"

_UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, AttributeError, pickle.UnpicklingError, zipfile.BadZipFile)
# pull() is made for models: scale and family mean nothing here.
_PUBLISHED = Entry("vgg19", FILE, URL, None, "dcbb9e9d", 1, "srvgg", "BSD-3-Clause", "torchvision's VGG19")


class Perceptual(nn.Module):
    """Sum over LAYERS of weight * mean absolute difference. Frozen; gradients flow to the first picture only."""

    mean: Tensor
    std: Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        # The classifier behind these layers would take half a gigabyte for nothing.
        from torchvision.models.vgg import cfgs, make_layers

        self.features = make_layers(cfgs["E"], batch_norm=False)[: max(LAYERS) + 1]
        self.features.load_state_dict(_state_of(weights))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, made_N3HW: Tensor, truth_N3HW: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.taps(truth_N3HW)
        pairs = zip(LAYERS.values(), self.taps(made_N3HW), wanted, strict=True)
        return torch.stack([weight * F.l1_loss(made.float(), want.float()) for weight, made, want in pairs]).sum()

    def taps(self, rgb_N3HW: Tensor) -> list[Tensor]:
        """The features at LAYERS, in order."""
        x, found = (rgb_N3HW - self.mean) / self.std, []
        for index, layer in enumerate(self.features):
            # torchvision's ReLUs work in place, which would change what was tapped.
            x = F.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
            if index in LAYERS:
                found.append(x)
        return found


def find_vgg(choice: str, notice: Callable[[str], None]) -> Path:
    """The file that `loss.vgg` means. Raises ConfigError where it is missing, WeightsError where pulling fails."""
    cached = Path(torch.hub.get_dir()) / "checkpoints" / FILE
    path = Path(choice).expanduser() if choice not in ("", PULL) else cached
    if choice == PULL and not cached.is_file():
        notice(f"fetches {URL} (575 MB) into {cached.parent}")
        return pull(_PUBLISHED, cached.parent)
    if not path.is_file():
        raise ConfigError(
            "the perceptual loss needs the weights of VGG19, and they are not on this machine",
            where=str(path),
            remedy=f'Set loss.vgg = "pull" to fetch them (575 MB) or to the path of {FILE}; {WITHOUT}.',
        )
    return path


def _state_of(path: Path) -> dict[str, Tensor]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        found = {name.removeprefix("features."): value for name, value in checkpoint.items() if "features." in name}
        expected = {f"{index}.{kind}" for index in range(max(LAYERS) + 1) for kind in ("weight", "bias")}
        return {name: value for name, value in found.items() if name in expected}
    except _UNREADABLE as error:
        remedy = f"Fetch them anew; {WITHOUT}."
        raise WeightsError("cannot read the weights of VGG19", where=str(path), remedy=remedy) from error
