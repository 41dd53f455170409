"""What a training run is: one frozen value, made of a TOML file and `--set section.key=value`.

Sides of pictures are in pixels of the large picture unless a field says otherwise."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from streamsr.config import Section
from streamsr.train.data_config import DataConfig, PoolConfig

GanKind = Literal["vanilla", "lsgan", "hinge"]
GAN_STRIDE = 8
"""Sides of a discriminator's pictures are multiples of this, or the skips of its U-Net would not fit."""


class ModelConfig(Section):
    family: Literal["rrdb", "srvgg"] = "rrdb"
    """rrdb for pictures, srvgg for video in real time."""
    scale: int = Field(4, ge=1, le=16)
    """How many times wider and higher the output is; an rrdb can do 1, 2 and 4."""
    features: int = Field(64, ge=3, le=512)
    """Channels between the convolutions."""
    depth: int = Field(23, ge=1, le=100)
    """rrdb: blocks; srvgg: convolutions between the first and the last."""
    growth: int = Field(32, ge=1, le=512)
    """rrdb only: channels that each convolution of a dense block adds."""
    start: str = ""
    """Name or path of a checkpoint to go on from, or the folder of a finished run. Empty: fresh weights. An srvgg of a
    multiple of the scale is folded; of an rrdb of another scale what fits is taken."""
    init: Literal["random", "bilinear"] = "random"
    """Fresh weights: random as basicsr's, or (srvgg) a network that is exactly bilinear enlargement at first."""


class LossConfig(Section):
    l1: float = Field(1.0, ge=0)
    """Weight of the mean absolute difference."""
    l1_sharp: bool = True
    """Measure it against the sharpened ground truth, where the recipe sharpens."""
    edge: float = Field(0.0, ge=0)
    """Weight of the mean absolute difference of neighbouring pixels' differences, same target as l1."""
    means: float = Field(0.0, ge=0)
    """Weight of the difference of local means to the ground truth: guards against a change of colour."""
    means_px: int = Field(8, ge=2)
    """Side of the squares whose means are compared."""
    perceptual: float = Field(0.0, ge=0)
    """Weight of the difference of VGG19's features (conv1_2, 2_2, 3_4, 4_4, 5_4)."""
    perceptual_sharp: bool = True
    """Measure it against the sharpened ground truth."""
    vgg: str = ""
    """torchvision's file vgg19-dcbb9e9d.pth. Empty: where torch.hub keeps it; "pull": fetch it if it is not there."""
    gan: float = Field(0.0, ge=0)
    """Weight of the adversarial loss; 0: no discriminator."""
    gan_kind: GanKind = "vanilla"
    """Which adversarial loss."""
    gan_sharp: bool = False
    """Whether the discriminator's real pictures are the sharpened ones."""
    gan_features: int = Field(64, ge=1, le=512)
    """Channels of the discriminator's first convolution."""
    gan_start: str = ""
    """Path of a discriminator to go on from, as RealESRGAN_x4plus_netD.pth. Empty: fresh."""


class DistillConfig(Section):
    teacher: str = ""
    """Name or path of a checkpoint whose pictures are learned from. Empty: none."""
    share: float = Field(0.7, ge=0, le=1)
    """Share of the teacher's picture in the target of l1 and edge; the ground truth is the rest."""
    means_px: int = Field(32, ge=0)
    """The teacher's means over squares of this side are replaced by the ground truth's, so that no change of colour is
    learned. 0: the teacher's own stay."""


class OptimConfig(Section):
    steps: int = Field(400_000, ge=1)
    """Length of the training."""
    batch: int = Field(12, ge=1)
    """Pairs per step and process."""
    lr: float = Field(1e-4, gt=0)
    """Learning rate (Adam)."""
    last_lr: float | None = Field(None, gt=0)
    """Learning rate at the end, reached along a cosine. Unset: it stays."""
    warmup: int = Field(0, ge=0)
    """Steps in which the learning rate grows from zero."""
    flat: float = Field(0.5, ge=0, lt=1)
    """Share of the steps before the cosine begins."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's decays."""
    clip: float = Field(0.0, ge=0)
    """Longest gradient of the generator; longer ones are shortened. 0: any."""
    ema: float = Field(0.999, ge=0, lt=1)
    """Decay of the running average of the weights, which is what is validated and exported."""
    ema_ramp: bool = False
    """Begin with a shorter average: min(ema, (1 + step) / (10 + step))."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the networks; the weights and their average stay fp32."""


class RunConfig(Section):
    seed: int = Field(0, ge=0)
    """Crops, degradation, the pool and fresh weights follow from it."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N. With torchrun each process takes the GPU of its number."""
    threads: int = Field(0, ge=0)
    """CPU threads of the network per process; 0: torch's choice."""
    compile: bool = False
    """Compile the generator with torch.compile."""
    log_every: int = Field(100, ge=1)
    """Steps between two lines of the log and two points of TensorBoard's curves."""
    save_every: int = Field(5000, ge=1)
    """Steps between two checkpoints."""
    keep: int = Field(2, ge=1)
    """Checkpoints that are kept."""
    samples: int = Field(4, ge=0, le=16)
    """Pictures of a batch shown in TensorBoard at each checkpoint."""
    tensorboard: bool = True
    """Write TensorBoard's files into the run's folder."""
    patience_s: float = Field(600.0, gt=0)
    """How long one process waits for the others."""


class ValidationConfig(Section):
    pictures: tuple[str, ...] = ()
    """Folders and files, also clips, to validate on; with `data.held_out` what it names of them. Empty: none."""
    recipe: str = ""
    """Degradation, by name or path. Empty: they are reduced by area."""
    every: int = Field(5000, ge=1)
    """Steps between two validations."""
    count: int = Field(8, ge=1)
    """At most so many pictures."""
    crop: int = Field(480, ge=16)
    """Side of the centre part that is used."""


class TrainConfig(Section):
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    pool: PoolConfig = PoolConfig()
    loss: LossConfig = LossConfig()
    distill: DistillConfig = DistillConfig()
    optim: OptimConfig = OptimConfig()
    run: RunConfig = RunConfig()
    validation: ValidationConfig = ValidationConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        if not (self.data.pictures or self.data.clips):
            raise ValueError("there is nothing to learn from: name folders in data.pictures or data.clips")
        if self.data.crop % self.model.scale:
            raise ValueError(f"data.crop = {self.data.crop} is not a multiple of model.scale = {self.model.scale}")
        if self.data.patch * self.model.scale > self.data.crop:
            raise ValueError(f"data.patch = {self.data.patch} is larger than the small picture of a crop")
        if self.model.init == "bilinear" and self.model.family != "srvgg":
            raise ValueError('model.init = "bilinear" needs model.family = "srvgg"')
        losses, side = self.loss, self.data.patch * self.model.scale or self.data.crop
        if losses.gan and side % GAN_STRIDE:
            raise ValueError(f"a discriminator needs crops of a multiple of {GAN_STRIDE} pixels, not {side}")
        if not (losses.l1 or losses.edge or losses.means or losses.perceptual or losses.gan):
            raise ValueError("all weights in [loss] are zero")
        return self
