"""Which encoders, decoders and hardware decoders work here: each is given two pictures, in a process of its own.

Listing is not enough: NVENC is in every build of FFmpeg and opens only with a driver and a card that has it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import av.logging
from av.codec.hwaccel import HWAccel

SIDE = 256  # NVENC takes nothing below 145 columns
TIMEOUT_S = 60.0
ENCODED_BY = {
    "h264": "libx264",
    "hevc": "libx265",
    "av1": "libsvtav1",
    "vp9": "libvpx-vp9",
    "vp8": "libvpx",
    "mpeg2video": "mpeg2video",
    "mpeg4": "mpeg4",
    "prores": "prores_ks",
    "ffv1": "ffv1",
}
"""Decoder -> the encoder that makes its test pictures."""
ONLY_OPENED = ("mjpeg", "dnxhd", "vc1", "wmv3", "msmpeg4v3", "theora", "rv40")
"""Decoders without an encoder that takes any picture: their presence is all that is looked at."""


def library_versions() -> dict[str, str]:
    """PyAV's and FFmpeg's versions."""
    return {"PyAV": av.__version__, "FFmpeg": av.ffmpeg_version_info}


def try_all(trials: Iterable[str]) -> dict[str, str | None]:
    """Why each trial fails, None where it works. A trial is "encode NAME", "decode NAME" or "nvdec NAME".

    They run in a spawned process: drivers have been seen to crash, to hang, and to write to the terminal."""
    results: dict[str, str | None] = {}
    waiting = list(trials)
    while waiting:
        lines, end = _run(waiting)
        for line in lines:
            name, reason = json.loads(line)
            results[name] = reason
        waiting = [name for name in waiting if name not in results]
        if waiting:
            results[waiting.pop(0)] = end
    return results


def _run(trials: list[str]) -> tuple[list[str], str]:
    """(what the process said before its end, how it ended)."""
    command = [sys.executable, "-m", "streamsr.media.trials", *trials]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        return text.splitlines(), f"did not answer within {TIMEOUT_S:.0f} s"
    return done.stdout.splitlines(), f"crashed the process (exit status {done.returncode})"


def try_one(trial: str) -> str | None:
    """Why `trial` fails in this process; None where it works."""
    kind, _, name = trial.partition(" ")
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    with av.logging.Capture() as log:
        try:
            if kind == "encode":
                _encoded(name)
            elif name in ONLY_OPENED:
                av.Codec(name, "r")
            else:
                _decode(name, HWAccel("cuda", allow_software_fallback=False) if kind == "nvdec" else None)
        except (av.FFmpegError, ValueError, RuntimeError) as error:
            return _reason(error, [message for _, _, message in log])
        finally:
            # Left on, it could hang a later decoder: its threads would wait for the interpreter's lock to log, and
            # whoever closes it for its threads, with that lock held.
            av.logging.set_level(before)
    return None


def _encoded(name: str) -> bytes:
    """Two gray pictures through the encoder `name`, in Matroska."""
    codec = av.Codec(name, "w")
    formats = [pix_fmt.name for pix_fmt in codec.video_formats or ()]
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        rate = Fraction(25)
        stream: Any = container.add_stream(name, rate=rate)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p" if "yuv420p" in formats or not formats else formats[0]
        for index in range(2):
            picture = av.VideoFrame(SIDE, SIDE, "gray").reformat(format=stream.pix_fmt)
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return file.getvalue()


def _decode(name: str, hwaccel: HWAccel | None) -> None:
    """Raises unless the decoder `name` gives both pictures back."""
    file = io.BytesIO(_encoded(ENCODED_BY[name]))
    with av.open(file, "r", hwaccel=hwaccel) as container:
        pictures = len(list(container.decode(video=0)))
    if pictures != 2:
        raise ValueError(f"gave {pictures} pictures of 2")


def _reason(error: Exception, log: list[str]) -> str:
    """The most telling sentence: FFmpeg's own log knows more than its error number."""
    lines = [line.strip() for message in log for line in message.splitlines() if line.strip()]
    if isinstance(error, av.codec.codec.UnknownCodecError):
        return "not in this build of FFmpeg"
    return lines[0] if lines else str(getattr(error, "strerror", None) or error)


if __name__ == "__main__":
    for trial in sys.argv[1:]:
        sys.stdout.write(json.dumps([trial, try_one(trial)]) + "\n")
        sys.stdout.flush()
