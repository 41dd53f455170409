"""The audio packets of a live source, as those behind it want them: with a time, and in a format that says all."""

from __future__ import annotations

from typing import Any

from streamsr.live_frames import AudioFormat
from streamsr.media import adts

ASSUMED_RATE, ASSUMED_LAYOUT, ASSUMED_CHANNELS = 48_000, "stereo", 2
"""Of a track that is announced but has not begun: it can be told from none, and its first packets say what it is."""


class Sound:
    """One audio track. `format` is what was said of it when it was opened; packets may come in another one."""

    def __init__(self, stream: Any) -> None:
        self._context, self._tick = stream.codec_context, stream.time_base
        self.format = self._stated()
        self._has_headers = self.format.codec == "aac" and not self._context.extradata
        self._end_s: float | None = None

    def take(self, packet: Any) -> tuple[bytes, AudioFormat, float, float] | None:
        """(data, format, time and duration in seconds on the source's clock); None where the packet cannot be used."""
        start_s = float(packet.pts * self._tick) if packet.pts is not None else self._end_s
        if start_s is None:
            return None
        data = bytes(packet)
        if self._has_headers:
            found = adts.bare(data)
            if found is None:
                return None
            data, config = found
            self.format = self._configured(config)
        duration_s = float(packet.duration * self._tick) if packet.duration else self._usual_s
        self._end_s = start_s + duration_s
        return data, self.format, start_s, duration_s

    @property
    def _usual_s(self) -> float:
        return (self.format.frame_samples or 1024) / self.format.rate

    def _stated(self) -> AudioFormat:
        context = self._context
        codec = context.codec.canonical_name
        if not context.sample_rate or not context.channels:
            samples = 1024 if codec == "aac" else 0
            return AudioFormat(codec, ASSUMED_RATE, ASSUMED_LAYOUT, ASSUMED_CHANNELS, samples)
        extradata = bytes(context.extradata or b"")
        if codec == "aac" and not extradata:
            extradata = adts.low_complexity(context.sample_rate, context.channels)
        return AudioFormat(
            codec, context.sample_rate, context.layout.name, context.channels, context.frame_size or 0, extradata
        )

    def _configured(self, config: bytes) -> AudioFormat:
        """The format of a packet with this description. A decoder knows of a doubled rate, the header does not."""
        if config == self.format.extradata:
            return self.format
        rate, channels = adts.rate_and_channels(config)
        layout = {1: "mono", 2: "stereo"}.get(channels, self._context.layout.name)
        if self._context.sample_rate == 2 * rate:
            return AudioFormat("aac", 2 * rate, layout, channels, 2048, config)
        return AudioFormat("aac", rate, layout, channels, 1024, config)
