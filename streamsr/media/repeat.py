"""A film that is a clip over and over: for measuring what happens with long files."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from streamsr.errors import SourceError


def repeat_clip(source: Path, target: Path, seconds: float) -> None:
    """Writes the packets of the video and the first audio track of `source` again and again into `target`, in a
    container of the same kind, until it lasts `seconds` at least; nothing is encoded. Raises SourceError."""
    try:
        with av.open(str(source)) as first, av.open(str(target), "w") as output:
            chosen = [*first.streams.video[:1], *first.streams.audio[:1]]
            outputs = {stream.index: output.add_stream_from_template(stream, opaque=True) for stream in chosen}
            if not first.streams.video or not first.duration:
                raise SourceError("no clip that could be repeated", where=str(source))
            video = first.streams.video[0]
            length = _length(video) or Fraction(first.duration, av.time_base)
            ends: dict[int, int] = {}
            for turn in range(max(1, math.ceil(Fraction(seconds) / length))):
                with av.open(str(source)) as again:
                    _append(again, output, outputs, turn * length, ends)
    except (av.FFmpegError, ValueError) as error:
        raise SourceError(f"the clip cannot be repeated: {error}", where=str(source)) from error


def _length(video: Stream) -> Fraction | None:
    return video.duration * video.time_base if video.duration and video.time_base else None


def _append(
    container: InputContainer,
    output: OutputContainer,
    outputs: dict[int, Stream],
    shift_s: Fraction,
    ends: dict[int, int],
) -> None:
    """One more turn. `ends`: the last dts of each track; where tracks are not equally long, packets that would lie
    before it are left out."""
    for packet in container.demux([container.streams[index] for index in outputs]):
        if packet.dts is None or packet.pts is None or packet.time_base is None:
            continue
        shift, index = round(shift_s / packet.time_base), packet.stream.index
        if packet.dts + shift <= ends.get(index, packet.dts + shift - 1):
            continue
        packet.pts += shift
        packet.dts += shift
        ends[index] = packet.dts
        packet.stream = outputs[index]
        output.mux(packet)
