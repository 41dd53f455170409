"""Serves a clip as an RTSP camera would, in an endless loop with its sound:

    python3 samples/rtsp_server.py 8554 samples/parade.mp4

gives rtsp://127.0.0.1:8554/live until Ctrl-C. Run it with the system's Python, which has GStreamer's bindings. Nothing
is encoded anew: the packets of the clip (H.264 or H.265, and AAC if it has sound) are sent again and again with times
that go on, so that a reader sees no seam. All readers see the same, as with a camera. Only this machine can connect.
Port 0 takes a free one."""

from __future__ import annotations

import heapq
import itertools
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstApp", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstApp, GstRtspServer  # noqa: F401 -- GstApp types the sinks below
except (ImportError, ValueError) as error:
    sys.exit(
        f"{error}\nThis needs GStreamer's RTSP server for the system's Python. On Debian and Ubuntu:\n"
        "  apt-get install --no-install-recommends python3-gi gir1.2-gst-rtsp-server-1.0 gir1.2-gstreamer-1.0 \\\n"
        "    gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad\n"
        "then run this program with /usr/bin/python3."
    )

PAYLOADS = {
    "video/x-h264": "h264parse config-interval=-1 ! rtph264pay config-interval=1",
    "video/x-h265": "h265parse config-interval=-1 ! rtph265pay config-interval=1",
    "audio/mpeg": "aacparse ! rtpmp4gpay",
}
READ_S, MOST_LATE_S = 20.0, 1.0


@dataclass
class Track:
    """One track of the clip: its packets, in decode order. Times in nanoseconds from the clip's beginning."""

    kind: str
    caps: Any
    packets: list[bytes] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    duration: int = 0
    """Of one packet."""


def read_tracks(clip: Path) -> list[Track]:
    """The tracks that can be sent, video first. Raises ValueError where there is no such video."""
    pipeline = Gst.parse_launch("filesrc name=file ! parsebin name=parse")
    pipeline.get_by_name("file").set_property("location", str(clip))
    tracks: dict[str, Track] = {}
    pipeline.get_by_name("parse").connect("pad-added", lambda _, pad: _collect(pipeline, pad, tracks))
    pipeline.set_state(Gst.State.PLAYING)
    ends = Gst.MessageType.EOS | Gst.MessageType.ERROR
    message = pipeline.get_bus().timed_pop_filtered(int(READ_S * Gst.SECOND), ends)
    pipeline.set_state(Gst.State.NULL)
    if message is None or message.type == Gst.MessageType.ERROR:
        raise ValueError(f"{clip}: {message.parse_error()[0].message if message else 'cannot be read'}")
    found = sorted((track for track in tracks.values() if track.packets), key=lambda track: track.kind, reverse=True)
    if not found or not found[0].kind.startswith("video"):
        raise ValueError(f"{clip}: no H.264 or H.265 video in it")
    return found


def _collect(pipeline: Any, pad: Any, tracks: dict[str, Track]) -> None:
    """Gathers the packets of one track; a track that cannot be sent is thrown away."""
    caps = pad.get_current_caps() or pad.query_caps(None)
    form = caps.get_structure(0)
    kind = form.get_name()
    is_fit = kind in PAYLOADS and (kind != "audio/mpeg" or form.get_value("mpegversion") != 1)  # 1: MP3
    sink = Gst.ElementFactory.make("appsink")
    for name, value in {"sync": False, "async": False, "emit-signals": True}.items():
        sink.set_property(name, value)
    sink.connect("new-sample", _take, tracks.setdefault(kind, Track(kind, caps)) if is_fit else None)
    pipeline.add(sink)
    pad.link(sink.get_static_pad("sink"))
    sink.sync_state_with_parent()


def _take(sink: Any, track: Track | None) -> Any:
    sample = sink.emit("pull-sample")
    buffer, begin = sample.get_buffer(), sample.get_segment().start
    # AAC begins with a packet that only warms the decoder up; its time is before the clip.
    if track is not None and (buffer.pts >= begin or track.kind.startswith("video")):
        track.caps = sample.get_caps()
        track.packets.append(buffer.extract_dup(0, buffer.get_size()))
        track.times.append(buffer.pts - begin)
        track.duration = max(track.duration, buffer.duration)
    return Gst.FlowReturn.OK


def beats_of(track: Track, length: int) -> Iterator[tuple[int, int, bytes, Track]]:
    """Without end: (when to send, time, packet, track), for a clip of `length` nanoseconds."""
    tick = 0
    for turn in itertools.count():
        if track.kind.startswith("video"):
            for index, (time_ns, packet) in enumerate(zip(track.times, track.packets, strict=True)):
                yield turn * length + index * length // len(track.packets), turn * length + time_ns, packet, track
            continue
        # Sound ticks on by its own clock and begins again with the first picture: no gap, and never out of step.
        packets = itertools.chain(track.packets, itertools.repeat(track.packets[-1]))
        while tick * track.duration < (turn + 1) * length:
            yield tick * track.duration, tick * track.duration, next(packets), track
            tick += 1


class Loop:
    """Feeds one RTSP media from the tracks, in real time, from its first request for data until `end` is called."""

    def __init__(self, tracks: list[Track], media: Any) -> None:
        self._tracks, self._element = tracks, media.get_element()
        self._sources = {
            track.kind: self._element.get_by_name(f"source{number}") for number, track in enumerate(tracks)
        }
        self._wanted, self._ended = threading.Event(), threading.Event()
        for track in tracks:
            self._sources[track.kind].set_caps(track.caps)
            self._sources[track.kind].connect("need-data", lambda *_: self._wanted.set())
        media.connect("unprepared", lambda _: self._ended.set())
        threading.Thread(target=self._run, name="loop", daemon=True).start()

    def _run(self) -> None:
        while not self._wanted.wait(0.5):
            if self._ended.is_set():
                return
        began = self._element.get_clock().get_time() - self._element.get_base_time()
        began_s = time.monotonic()
        length = max(self._tracks[0].times) + self._tracks[0].duration
        beats = heapq.merge(*(beats_of(track, length) for track in self._tracks), key=lambda beat: beat[0])
        for send, time_ns, packet, track in beats:
            ahead_s = began_s + send / Gst.SECOND - time.monotonic()
            if ahead_s < -MOST_LATE_S:
                # It was suspended: as a camera it goes on now, and does not send what it has missed.
                began_s, began, ahead_s = began_s - ahead_s, began - round(ahead_s * Gst.SECOND), 0.0
            if self._ended.wait(max(0.0, ahead_s)):
                return
            buffer = Gst.Buffer.new_wrapped(packet)
            buffer.pts = began + time_ns
            if self._sources[track.kind].emit("push-buffer", buffer) != Gst.FlowReturn.OK:
                return


def loop_factory(clip: Path) -> Any:
    """An RTSPMediaFactory that plays `clip` for ever. Raises ValueError."""
    tracks = read_tracks(clip)
    appsrc = "appsrc is-live=true format=time"
    parts = [
        f"{appsrc} name=source{number} ! {PAYLOADS[track.kind]} name=pay{number} pt={96 + number}"
        for number, track in enumerate(tracks)
    ]
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(f"( {' '.join(parts)} )")
    factory.set_shared(True)
    factory.connect("media-configure", lambda _, media: Loop(tracks, media))
    return factory


def main() -> None:
    if len(sys.argv) != 3 or not sys.argv[1].isdigit():
        sys.exit(__doc__)
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(sys.argv[1])
    try:
        server.get_mount_points().add_factory("/live", loop_factory(Path(sys.argv[2])))
    except ValueError as error:
        sys.exit(str(error))
    if not server.attach(None):
        sys.exit(f"port {sys.argv[1]} cannot be had: is another server running there?")
    sys.stdout.write(f"rtsp://127.0.0.1:{server.get_bound_port()}/live is ready; Ctrl-C ends it\n")
    sys.stdout.flush()
    try:
        GLib.MainLoop().run()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
