"""The network that is trained: fresh, as bilinear enlargement, or from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from streamsr.errors import ConfigError
from streamsr.models.registry import Architecture, Module
from streamsr.models.rrdb import UNSHUFFLE, DenseBlock
from streamsr.models.srvgg import SRVGG
from streamsr.models.weights import Network, load_network
from streamsr.train.config import ModelConfig

MIN_FITTING = 0.5
"""Of the parameters of a start, so that a checkpoint of quite another network is refused."""


def architecture_of(cfg: ModelConfig) -> Architecture:
    """What `[model]` describes. Raises ConfigError for what cannot be built."""
    if cfg.family == "srvgg":
        return Architecture("srvgg", cfg.scale, 3, 3, cfg.features, cfg.depth)
    if cfg.scale not in (1, 2, 4):
        raise ConfigError(f"model.scale = {cfg.scale} does not go with rrdb", remedy="It can do 1, 2 and 4.")
    unshuffle = UNSHUFFLE.get(cfg.scale, 1)
    return Architecture("rrdb", cfg.scale, 3, 3, cfg.features, cfg.depth, cfg.growth, unshuffle)


def new_generator(cfg: ModelConfig, seed: int, notice: Callable[[str], None]) -> tuple[Module, Architecture]:
    """The module that `[model]` asks for, fp32 on the CPU, in training mode; its fresh weights follow from `seed`.

    `notice` is told where the weights come from. Raises ConfigError and WeightsError."""
    architecture = architecture_of(cfg)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = architecture.build()
        if isinstance(module, SRVGG):
            if cfg.init == "bilinear":
                start_bilinear(module)
        else:
            start_like_esrgan(module)
    if cfg.start:
        network = load_network(finished(cfg.start))
        notice(f"starts from {network.name}: {take_over(module, architecture, network)}")
    return module.train(), architecture


def finished(reference: str) -> str | Path:
    """A run's folder stands for the model in it; all else stays as it is."""
    folder = Path(reference).expanduser()
    model = folder / f"{folder.name}.safetensors"
    return model if folder.is_dir() and model.is_file() else reference


def take_over(module: Module, architecture: Architecture, network: Network) -> str:
    """Puts the weights of `network` into `module` as far as they fit; says in words what was taken.

    Raises ConfigError if it is another network."""
    source: nn.Module = network.module
    words = "all weights"
    if isinstance(source, SRVGG) and source.scale > architecture.scale and source.scale % architecture.scale == 0:
        source = source.folded(source.scale // architecture.scale)
        words = f"all weights, folded from x{network.scale} to x{architecture.scale}"
    state, own = source.state_dict(), module.state_dict()
    fitting = {name: value for name, value in state.items() if name in own and own[name].shape == value.shape}
    share = sum(value.numel() for value in fitting.values()) / sum(value.numel() for value in own.values())
    if network.family != architecture.family or share < MIN_FITTING:
        raise ConfigError(
            f"model.start is {network.architecture}, but [model] describes {architecture}",
            where=str(network.path),
            remedy="Give [model] the checkpoint's family, features and depth.",
        )
    module.load_state_dict(fitting, strict=False)
    return words if len(fitting) == len(own) else f"{len(fitting)} of {len(own)} parameters, the others are fresh"


@torch.no_grad()
def start_like_esrgan(module: nn.Module) -> None:
    """basicsr's start of an RRDB: in the dense blocks Kaiming's normal distribution times 0.1 and no bias, so that the
    blocks hardly speak at first; the other convolutions keep torch's own."""
    for block in module.modules():
        if isinstance(block, DenseBlock):
            for conv in block.children():
                assert isinstance(conv, nn.Conv2d)
                assert conv.bias is not None
                nn.init.kaiming_normal_(conv.weight).mul_(0.1)
                nn.init.zeros_(conv.bias)


@torch.no_grad()
def start_bilinear(student: SRVGG) -> None:
    """Makes it bilinear enlargement (but for the outermost pixels): three features carry the colours unchanged to the
    last convolution, which makes of them the difference between bilinear and nearest. The other features begin at
    random and hardly speak. Needs three features at least."""
    convs = [module for module in student.modules() if isinstance(module, nn.Conv2d)]
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight, a=0.25)
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
    for conv in convs[:-1]:
        conv.weight[:3] = 0
        conv.weight[range(3), range(3), 1, 1] = 1
    for prelu in (module for module in student.modules() if isinstance(module, nn.PReLU)):
        prelu.weight[:3] = 1
    last, square = convs[-1].weight, student.scale**2
    last.mul_(0.05)
    last[:, :3] = 0
    for colour in range(3):
        last[colour * square : (colour + 1) * square, colour] = bilinear_minus_nearest(student.scale)


def bilinear_minus_nearest(scale: int) -> Tensor:
    """(scale**2, 3, 3): for each of the pixels made of one, row by row, what its nine neighbours add to the pixel."""
    offset = (torch.arange(scale) + 0.5) / scale - 0.5
    taps = torch.stack([(-offset).clamp(min=0), 1 - offset.abs(), offset.clamp(min=0)], dim=1)
    squares = torch.einsum("iy,jx->ijyx", taps, taps).reshape(scale**2, 3, 3)
    squares[:, 1, 1] -= 1
    return squares
