"""Which decoder a file is opened with: the CPU's, NVIDIA's NVDEC through FFmpeg, or NVIDIA's DALI."""

from __future__ import annotations

from typing import Any, Literal

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from streamsr.errors import SourceError
from streamsr.media import dali
from streamsr.media.decode import plain

Decoder = Literal["auto", "cpu", "nvdec", "dali"]


def open_container(path: str, decoder: Decoder, device: str, patience_s: float) -> tuple[Any, list[str]]:
    """An av InputContainer whose video decodes where it should, and notices.

    "auto" takes NVDEC for a CUDA device and falls back to the CPU with a notice; "nvdec" raises SourceError instead.
    "dali" is never chosen by itself: its pictures come from `dali.decoded`, what is opened here gives the rest.
    Raises av.FFmpegError where the file itself cannot be opened."""
    if decoder == "dali":
        dali.require()
        return _open(path, patience_s), [dali.NOTICE]
    if decoder == "nvdec" or (decoder == "auto" and device == "cuda"):
        try:
            return _open(path, patience_s, hwaccel=_nvdec()), []
        except (av.FFmpegError, RuntimeError, NotImplementedError) as error:
            reason = plain(error)
        if decoder == "nvdec":
            _open(path, patience_s).close()  # a file that cannot be read at all is another error
            raise SourceError(
                f"NVDEC does not open: {reason}", where=path, remedy="Check the NVIDIA driver, or use --decoder cpu."
            )
        return _open(path, patience_s), [f"decoded on the CPU: NVDEC does not open ({reason})"]
    return _open(path, patience_s), []


def _nvdec() -> HWAccel:
    if "cuda" not in hwdevices_available():
        raise RuntimeError("this FFmpeg has no CUDA")
    return HWAccel("cuda", allow_software_fallback=True)


def _open(path: str, patience_s: float, **options: Any) -> Any:
    return av.open(path, "r", timeout=(patience_s, patience_s), metadata_errors="replace", **options)
