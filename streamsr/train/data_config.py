"""The sections `[data]` and `[pool]` of a training config: what is learned from, and how pairs are kept.

Sides of pictures are in pixels of the large picture unless a field says otherwise."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from streamsr.config import Section


class DataConfig(Section):
    pictures: tuple[str, ...] = ()
    """Folders of high-resolution pictures. Each, with its subfolders, is a group, as likely as every other group."""
    clips: tuple[str, ...] = ()
    """Video files, or folders of them. Each of these is a group too."""
    clip_frames: int = Field(1, ge=1, le=64)
    """Pictures of a clip that are degraded together; the last one is learned from."""
    clip_every: int = Field(20, ge=1)
    """Distance between the places in a clip that crops are taken from, in pictures."""
    held_out: str = ""
    """TOML file with `names = [...]`: pictures and clips (with or without ending) that training must not see."""
    lr: str = ""
    """Paired data: folder of the small pictures, named as in `pictures`. Empty: `recipe` makes them."""
    recipe: str = "x4plus"
    """Degradation: a name in configs/degrade, or a path."""
    crop: int = Field(256, ge=8)
    """Side of the crops that pairs are made of."""
    patch: int = Field(0, ge=0)
    """Side of what the network sees of a pair, in pixels of the small picture, at a random place each time. 0: all."""
    zoom: float = Field(1.0, ge=1, le=8)
    """Crops are cut up to this many times larger and reduced by area to their side."""
    candidates: int = Field(1, ge=1, le=16)
    """Of so many places usually (four times of five) the liveliest is taken. 1: all places are alike."""
    max_side: int = Field(0, ge=0)
    """Larger pictures are first reduced by area to this. 0: never."""
    max_side_lossy: int = Field(0, ge=0)
    """The same for pictures that are neither PNG nor TIFF, which hides their compression. 0: as max_side."""
    reduce: float = Field(1.0, gt=0, le=1)
    """Clips are first reduced by this factor, which hides their compression."""
    shares: dict[str, float] = Field(default_factory=dict)
    """Weight of a folder or clip, as it is written above or by the last part of its path, against 1 for the others."""
    loader: Literal["torch", "dali"] = "torch"
    """Who reads pictures and cuts crops."""
    workers: int = Field(2, ge=0, le=64)
    """Processes that make pairs; 0: the training process itself."""
    cache_mb: int = Field(1024, ge=1)
    """Memory for decoded pictures, all workers together."""

    @model_validator(mode="after")
    def _agree(self) -> DataConfig:
        if self.lr and (self.clips or self.zoom != 1 or self.max_side or self.max_side_lossy):
            raise ValueError("paired pictures (lr) are taken as they are: without clips, zoom and max_side")
        if wrong := [name for name, share in self.shares.items() if share < 0]:
            raise ValueError(f"the share of {wrong[0]} is negative")
        return self


class PoolConfig(Section):
    size: int = Field(0, ge=0)
    """Pairs that are kept and drawn from at random, so that the pictures of a batch differ in their degradation and a
    slow recipe or teacher is paid once per pair. 0: no pool, every pair is used once."""
    fresh: int = Field(1, ge=0)
    """New pairs that replace the oldest at each step, on each process."""
    folder: str = ""
    """Where the pool lies as files that a later run goes on with. Empty: in memory."""
