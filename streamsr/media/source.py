"""A video file as a stream of pictures with their times."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import Literal

import av

from streamsr.config import SourceConfig
from streamsr.errors import SourceError
from streamsr.frames import Frame, Stamp, VideoInfo, Window
from streamsr.media import color, dali, planes, probe
from streamsr.media.damage import Damage
from streamsr.media.decode import decoded, only
from streamsr.media.deinterlace import FIELD_ORDERS, deinterlaced
from streamsr.media.hardware import open_container
from streamsr.media.siting import stated_chroma_location
from streamsr.media.stamps import Timed, timed
from streamsr.media.window import near, nothing_decoded, pictures_before, pictures_from_key, within

Device = Literal["cpu", "cuda", "mps"]
LOOK_AHEAD = 3
"""Pictures decoded while opening. More are needed only to measure a rate."""


class VideoSource:
    """An open file. Use as a context manager; `frames` may run on another thread than the rest, once.

    `info` is complete when the object exists. `notices` (one line each) and `damage` grow until the last picture.
    `origin`: the moment in the file, in seconds, that is time 0 of the stamps; whoever copies other tracks of the same
    file subtracts it too. `time_span`: the first pts and the end of the last picture, in ticks, after iteration.

    With a window everything said of the file is the same as without, and `frames` yields the window's part of the
    pictures, perhaps none: same pixels, same times, indices from 0; `notices` and `damage` are those of the part."""

    info: VideoInfo

    def __init__(
        self, path: str, cfg: SourceConfig, device: Device, patience_s: float, window: Window | None = None
    ) -> None:
        self._notices: list[str] = []
        self.damage = Damage()
        self.frames_decoded = 0
        self.time_span: tuple[int, int] | None = None
        self._path, self._cfg, self._device, self._patience_s = path, cfg, device, patience_s
        self._window = window
        self._notices += self._open()
        try:
            self._hardware = bool(self._stream.codec_context.is_hwaccel)
            # Before anything is decoded: what FFmpeg's threads log meanwhile waits for the interpreter's lock, and a
            # decoder that is closed with that lock held waits for its threads, for ever.
            self._chroma_location = stated_chroma_location(self._container, self._stream.index)
            self.origin = probe.origin_of(self._container) + Fraction(cfg.start_s).limit_denominator(1_000_000)
            self._pictures = self._start()
            self.info = self._describe()
            if window is not None and window.seek_pts is not None:
                self._pictures = self._at_key(window.seek_pts)
            self._timed = timed(self._pictures, self.info.time_base, self.info.rate, self.damage)
            self._timed = within(self._timed, *self.span_pts)
            if window is not None:
                self._timed = near(self._timed, window, self.damage)
            else:
                self._timed = chain([self._first_wanted()], self._timed)
        except BaseException:
            self._container.close()
            raise

    @property
    def span_pts(self) -> tuple[int | None, int | None]:
        """The range that the config asks for, in the file's own ticks; None for an open end."""
        tick, duration_s = self._stream.time_base, self._cfg.duration_s
        start = round(self.origin / tick) if self._cfg.start_s else None
        if duration_s is None:
            return start, None
        return start, round((self.origin + Fraction(duration_s).limit_denominator(1_000_000)) / tick)

    def frames(self) -> Iterator[Frame]:
        """All pictures in order of display. May be called once. Raises SourceError where the size becomes absurd."""
        info, tick = self.info, self.info.time_base
        pictures = self._in_layout(self._timed)
        if self._cfg.deinterlace is not False:
            pictures = deinterlaced(pictures, everything=self._cfg.deinterlace is True)
        if self._window is not None:
            pictures = within(pictures, self._window.start_pts, self._window.end_pts)
        shift = round(self.origin / tick)
        for index, item in enumerate(pictures):
            stamp = Stamp(index, item.pts - shift, item.duration, tick)
            first = self.time_span[0] if self.time_span else stamp.pts
            self.time_span = first, stamp.pts + stamp.duration
            self.frames_decoded += 1
            width, height = item.picture.width, item.picture.height
            yield Frame(stamp, planes.planes_of(item.picture, info.layout), info.layout, width, height)

    @property
    def notices(self) -> list[str]:
        """What a person should know, one line each; complete after the last picture."""
        return self._notices + self.damage.notices()

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> list[str]:
        """Opens the file and its video track, and says what is to be said of the decoder."""
        self._container, notices = open_container(self._path, self._cfg.decoder, self._device, self._patience_s)
        try:
            self._stream = probe.choose_stream(self._container, self._path)
            self._stream.thread_type = "NONE" if self._needs_first_picture() else "AUTO"
            only(self._container, self._stream)
        except BaseException:
            self._container.close()
            raise
        return notices

    def _start(self) -> Iterator[av.VideoFrame]:
        """Decoding from the beginning, or from a key frame before the range that was asked for."""
        stream, container = self._stream, self._container
        if self._cfg.decoder == "dali":
            return dali.decoded(container, stream, self._path, gpu=self._device == "cuda")
        if not self._cfg.start_s or self._needs_first_picture():
            return decoded(container, stream, self.damage)
        wanted = math.floor(self.origin / stream.time_base)
        return pictures_before(container, stream, wanted, self.damage) or self._again()

    def _at_key(self, key_pts: int) -> Iterator[av.VideoFrame]:
        """Decoding from a window's key frame. Where that cannot be, from the beginning: slow, but the same."""
        if self._cfg.decoder == "dali" or self._needs_first_picture():
            return self._pictures
        pictures = pictures_from_key(self._container, self._stream, key_pts, self.damage)
        return pictures or self._again()

    def _again(self) -> Iterator[av.VideoFrame]:
        """Decoding from the beginning of the file, opened anew: some cannot even seek to there."""
        self._container.close()
        self._open()
        return decoded(self._container, self._stream, self.damage)

    def _needs_first_picture(self) -> bool:
        """H.264 in 4:4:4: x264 before build 151 is decoded right only by a decoder that read its version in the very
        first picture, which neither a seek nor other threads do (FFmpeg 5.1 and 8.1 show broken blocks, not the same
        ones each time)."""
        context = self._stream.codec_context
        return bool(context.name == "h264" and (context.pix_fmt or "").startswith("yuv444"))

    def _describe(self) -> VideoInfo:
        """Reads the first pictures (they stay in line) and fills every field."""
        stream, context, path = self._stream, self._stream.codec_context, self._path
        probe.check_size(stream.width, stream.height, path)
        head = list(islice(self._pictures, LOOK_AHEAD))
        if not head:
            raise self._nothing(self._cfg.model_copy(update={"duration_s": None}))
        rate = probe.rate_of(stream, [picture.pts for picture in head if picture.pts is not None])
        self._pictures = chain(head, self._pictures)
        first = head[0]
        probe.check_size(first.width, first.height, path)
        layout, orientation = planes.layout_of(first.format), probe.orientation_of(first, context.name)
        aspect, notice = probe.sample_aspect_of(stream)
        upright = (first.height, first.width) if orientation.swaps_sides else (first.width, first.height)
        tags = color.source_tags(
            first,
            context,
            codec=context.name,
            is_rgb=layout.is_rgb,
            upright_size=upright,
            chroma_location=self._chroma_location,
        )
        duration_s = self._wanted_duration(probe.duration_of(self._container, stream))
        interlaced = first.interlaced_frame or context.field_order in FIELD_ORDERS
        whole = not self._cfg.start_s and self._cfg.duration_s is None
        alpha = planes.has_alpha(first.format) or stream.metadata.get("alpha_mode") == "1"
        self._notices += [notice] if notice else []
        self._notices += self._picture_notices(first, interlaced, alpha)
        return VideoInfo(
            path=path,
            container=self._container.format.name,
            codec=context.name,
            width=first.width,
            height=first.height,
            layout=layout,
            color=tags,
            time_base=Fraction(stream.time_base),
            rate=rate,
            duration_s=duration_s,
            frames_from_header=probe.frames_of(stream, rate, duration_s) if whole else None,
            sample_aspect=aspect,
            orientation=orientation,
            interlaced=interlaced,
            has_alpha=alpha,
            hdr=probe.hdr_of(first, context.name),
            stream_index=stream.index,
        )

    def _picture_notices(self, first: av.VideoFrame, interlaced: bool, alpha: bool) -> list[str]:
        notices = []
        order = FIELD_ORDERS.get(self._stream.codec_context.field_order, "")
        order = f" ({order})" if order else ""
        if interlaced and self._cfg.deinterlace is not False:
            notices.append(f"interlaced{order}: deinterlaced with bwdif")
        elif interlaced:
            notices.append(f"interlaced{order}: left as it is")
        elif self._cfg.deinterlace:
            notices.append("not marked as interlaced: deinterlaced with bwdif as asked")
        if self._hardware and planes.has_planes_of(first.format.name, planes.layout_of(first.format)):
            notices.append("decoded on the CPU: NVDEC does not know this kind of video")
        if alpha:
            notices.append("alpha channel is not kept")
        foreign = color.foreign_matrix(first)
        if foreign and not first.format.is_rgb:
            notices.append(f"colour matrix {foreign} is not supported: colours are approximate")
        return notices

    def _wanted_duration(self, whole_s: float | None) -> float | None:
        if whole_s is None:
            return self._cfg.duration_s
        rest_s = max(0.0, whole_s - self._cfg.start_s)
        return rest_s if self._cfg.duration_s is None else min(rest_s, self._cfg.duration_s)

    def _in_layout(self, pictures: Iterator[Timed]) -> Iterator[Timed]:
        info, context = self.info, self._stream.codec_context
        converter = planes.LayoutConverter(info.layout, info.color.matrix)
        announced = False
        for number, item in enumerate(pictures):
            picture = item.picture
            if picture.interlaced_frame and not info.interlaced and self._cfg.deinterlace is None and not announced:
                announced = True
                where = f"from picture {number} on" if self._window is None else "in places"
                self._notices.append(f"interlaced {where}: deinterlaced with bwdif")
            probe.check_size(picture.width, picture.height, info.path)
            full = color.is_full_range(picture, context, codec=info.codec, is_rgb=info.layout.is_rgb)
            yield Timed(converter.convert(picture, full_range=full), item.pts, item.duration)

    def _first_wanted(self) -> Timed:
        first = next(self._timed, None)
        if first is None:
            raise self._nothing(self._cfg)
        return first

    def _nothing(self, cfg: SourceConfig) -> SourceError:
        whole_s = probe.duration_of(self._container, self._stream)
        return nothing_decoded(self._path, cfg, whole_s, self.damage)


def open_source(
    path: str | Path,
    cfg: SourceConfig,
    *,
    device: Device = "cpu",
    patience_s: float = 60.0,
    window: Window | None = None,
) -> VideoSource:
    """Open a media file for upscaling. `device`: where pictures go, for `cfg.decoder` "auto". `window`: the part of
    the film to give; one without pictures is no error.

    Raises SourceError with what is wrong, where, and what to do: no such file, a folder, unreadable, empty, not a
    media file, no video track, nothing decodable, encrypted, absurd size, start beyond the end."""
    where = os.fspath(path)
    probe.check_file(where)
    try:
        return VideoSource(where, cfg, device, patience_s, window)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise probe.unreadable(error, where) from error
