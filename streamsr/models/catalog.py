"""The models users can name, where their files come from and how they are recognised. Standard library only."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from streamsr.errors import WeightsError

RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download"
Family = Literal["srvgg", "rrdb"]
BSD, APACHE = "BSD-3-Clause", "Apache-2.0"


@dataclass(frozen=True, slots=True)
class Entry:
    """A model by name. `url` is None for what comes with streamsr. `sha256` is lower-case hex, whole or its beginning;
    None: unpublished, then what is fetched first is remembered (see pull.py). `size_bytes` None: unpublished."""

    name: str
    file: str
    url: str | None
    size_bytes: int | None
    sha256: str | None
    scale: int
    family: Family
    licence: str
    summary: str

    def has_hash(self, sha256: str) -> bool:
        """Whether a file of this hash is the published one."""
        return self.sha256 is not None and sha256.startswith(self.sha256)


SHA256 = {
    "RealESRGAN_x4plus.pth": "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
    "RealESRGAN_x2plus.pth": "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
    "RealESRGAN_x4plus_anime_6B.pth": "f872d837d3c90ed2e05227bed711af5671a6fd1c9f7d7e91c911a61f155e99da",
    "realesr-animevideov3.pth": "b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
    "realesr-general-x4v3.pth": "8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
    "realesr-general-wdn-x4v3.pth": "1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
    "ESRGAN_SRx4_DF2KOST_official-ff704c30.pth": "ff704c30",  # its name is all that is published
}
SIZE_BYTES = {
    "realesr-animevideov3.pth": 2_504_012,
    "realesr-general-x4v3.pth": 4_885_111,
    "realesr-general-wdn-x4v3.pth": 4_885_111,
}


def _published(name: str, file: str, release: str, family: Family, scale: int, summary: str) -> Entry:
    url = f"{RELEASES}/{release}/{file}"
    licence = APACHE if name == "esrgan-x4" else BSD
    return Entry(name, file, url, SIZE_BYTES.get(file), SHA256.get(file), scale, family, licence, summary)


LITE = Entry("lite", "lite.safetensors", None, None, None, 4, "srvgg", BSD, "comes with streamsr; real time on a CPU")

# fmt: off
CATALOG = (
    LITE,
    _published("animevideov3", "realesr-animevideov3.pth", "v0.2.5.0", "srvgg", 4,
               "anime and cartoon video; fast, steady from picture to picture"),
    _published("general-x4v3", "realesr-general-x4v3.pth", "v0.2.5.0", "srvgg", 4,
               "any real-world video; fast; the only one with --denoise"),
    _published("general-wdn-x4v3", "realesr-general-wdn-x4v3.pth", "v0.2.5.0", "srvgg", 4,
               "general-x4v3 with weak denoising, keeps grain; the other half of --denoise"),
    _published("x4plus", "RealESRGAN_x4plus.pth", "v0.1.0", "rrdb", 4,
               "real-world pictures, sharpest; needs a strong GPU for video"),
    _published("x2plus", "RealESRGAN_x2plus.pth", "v0.2.1", "rrdb", 2,
               "x4plus for twice the size, at a quarter of its cost per input pixel"),
    _published("x4plus-anime-6b", "RealESRGAN_x4plus_anime_6B.pth", "v0.2.2.4", "rrdb", 4,
               "anime pictures; 6 blocks instead of 23"),
    _published("realesrnet-x4plus", "RealESRNet_x4plus.pth", "v0.1.1", "rrdb", 4,
               "x4plus before its adversarial training: smoother, invents nothing"),
    _published("esrgan-x4", "ESRGAN_SRx4_DF2KOST_official-ff704c30.pth", "v0.1.1", "rrdb", 4,
               "the original ESRGAN, for clean sources: enlarges noise and artefacts too"),
    _published("animevideo-xsx2", "RealESRGANv2-animevideo-xsx2.pth", "v0.2.3.0", "srvgg", 2,
               "anime video of 2021, twice the size"),
    _published("animevideo-xsx4", "RealESRGANv2-animevideo-xsx4.pth", "v0.2.3.0", "srvgg", 4,
               "anime video of 2021; animevideov3 replaced it"),
)
# fmt: on

_BY_SPELLING = {
    spelling.lower().replace("_", "-"): entry
    for entry in CATALOG
    for spelling in (entry.name, entry.file, entry.file.rpartition(".")[0])
}


def known(name: str) -> Entry | None:
    """The entry of this name, or of upstream's file name with or without its ending; case and _ or - do not matter."""
    return _BY_SPELLING.get(name.lower().replace("_", "-"))


def look_up(name: str) -> Entry:
    """`known`, or WeightsError with the nearest name and all names."""
    if entry := known(name):
        return entry
    near = difflib.get_close_matches(name.lower().replace("_", "-"), _BY_SPELLING, n=1, cutoff=0.5)
    meant = f"Did you mean {_BY_SPELLING[near[0]].name}? " if near else ""
    raise WeightsError(
        f"no model is called {name!r}",
        remedy=f"{meant}Models: {', '.join(entry.name for entry in CATALOG)}; or give the path of a checkpoint.",
    )
