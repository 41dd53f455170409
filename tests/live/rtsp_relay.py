"""A real RTSP server for the tests, run by the system's Python, which has GStreamer's bindings:

    STREAMSR_RTSP_USER=u STREAMSR_RTSP_PASSWORD=p python3 rtsp_relay.py PORT [CLIP.mp4]

/live      the clip (H.264, AAC or silent) in an endless loop; without a clip a bouncing ball and a tone
/file      the clip once, from its beginning for every reader
/pub       takes a publish of H.264 and AAC; whoever reads /pub_play gets it
/pubv      takes H.264 alone; whoever reads /pubv_play gets it

With a user all of it asks for digest authentication. It says "ready PORT" on its output, later "published /pub" and
"unpublished /pub". samples/ must be on PYTHONPATH: the loop is that of the sample server."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

sample: Any = importlib.import_module("rtsp_server")
Gst, GstRtspServer, GLib = sample.Gst, sample.GstRtspServer, sample.GLib
GstRtsp: Any = importlib.import_module("gi.repository.GstRtsp")

VIDEO_OUT = "h264parse config-interval=-1 ! rtph264pay config-interval=1 name=pay0 pt=96"
AUDIO_OUT = "aacparse ! rtpmp4gpay name=pay1 pt=97"
BALL = (
    "( videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=24/1"
    " ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=24 threads=1 ! {video}"
    " audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! avenc_aac ! {audio} )"
)
TAKE = {
    "v": "rtph264depay name=depay0 ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au"
    " ! appsink name=v emit-signals=true sync=false",
    "a": "rtpmp4gdepay name=depay1 ! aacparse ! audio/mpeg,stream-format=raw"
    " ! appsink name=a emit-signals=true sync=false",
}
GIVE = {
    "v": f"appsrc name=v is-live=true format=time do-timestamp=true ! {VIDEO_OUT}",
    "a": f"appsrc name=a is-live=true format=time do-timestamp=true ! {AUDIO_OUT}",
}
NUM_THREADS = 16
"""Of the server; with its default of one a reader who waits for data blocks the publisher who would send it."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Server:
    """Mount points of one RTSP server, each protected alike."""

    def __init__(self, port: str, user: str, password: str) -> None:
        self._user = user
        self.server = GstRtspServer.RTSPServer()
        self.server.set_address("127.0.0.1")
        self.server.set_service(port)
        self.server.get_thread_pool().set_max_threads(NUM_THREADS)
        self.mounts = self.server.get_mount_points()
        if user:
            auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
            token.set_string("media.factory.role", user)
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(user, password, token)
            self.server.set_auth(auth)

    def add(self, path: str, factory: Any) -> Any:
        if self._user:
            permissions = GstRtspServer.RTSPPermissions()
            for right in ("access", "construct"):
                permissions.add_permission_for_role(self._user, f"media.factory.{right}", True)
            factory.set_permissions(permissions)
        self.mounts.add_factory(path, factory)
        return factory


def factory_of(launch: str, is_shared: bool = True, is_record: bool = False) -> Any:
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(launch)
    factory.set_shared(is_shared)
    if is_record:
        factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
        factory.set_latency(0)
    return factory


class PublishPoint:
    """`path` takes what is published, `path`_play gives it to any number of readers, from the first packets on."""

    def __init__(self, server: Server, path: str, kinds: str) -> None:
        self._server, self._path, self._kinds = server, path, kinds
        self._caps: dict[str, Any] = {}
        self._out: dict[str, Any] = {}
        record = factory_of(f"( {' '.join(TAKE[kind] for kind in kinds)} )", is_record=True)
        record.connect("media-configure", self._begin)
        server.add(path, record)

    def _begin(self, factory: Any, media: Any) -> None:
        for kind in self._kinds:
            media.get_element().get_by_name(kind).connect("new-sample", self._relay, kind)
        media.connect("unprepared", self._end)

    def _relay(self, sink: Any, kind: str) -> Any:
        sample_ = sink.emit("pull-sample")
        if kind not in self._caps:
            self._caps[kind] = sample_.get_caps()
            if len(self._caps) == len(self._kinds):
                play = factory_of(f"( {' '.join(GIVE[each] for each in self._kinds)} )")
                play.connect("media-configure", self._serve)
                self._server.add(self._path + "_play", play)
                say(f"published {self._path}")
        if kind in self._out:
            buffer = sample_.get_buffer().copy()
            buffer.pts = buffer.dts = Gst.CLOCK_TIME_NONE
            self._out[kind].emit("push-sample", Gst.Sample.new(buffer, sample_.get_caps(), None, None))
        return Gst.FlowReturn.OK

    def _serve(self, factory: Any, media: Any) -> None:
        for kind in self._kinds:
            source = media.get_element().get_by_name(kind)
            source.set_caps(self._caps[kind])
            self._out[kind] = source
        media.connect("unprepared", lambda _: self._out.clear())

    def _end(self, media: Any) -> None:
        for source in list(self._out.values()):
            source.emit("end-of-stream")
        self._out.clear()
        self._caps.clear()
        self._server.mounts.remove_factory(self._path + "_play")
        say(f"unpublished {self._path}")


def main() -> None:
    Gst.init(None)
    port, *clip = sys.argv[1:]
    server = Server(port, os.environ.get("STREAMSR_RTSP_USER", ""), os.environ.get("STREAMSR_RTSP_PASSWORD", ""))
    if clip:
        parts = ["filesrc name=file ! qtdemux name=demux demux.video_0 ! queue ! " + VIDEO_OUT]
        if len(sample.read_tracks(Path(clip[0]))) > 1:
            parts.append("demux.audio_0 ! queue ! " + AUDIO_OUT)
        file = factory_of(f"( {' '.join(parts)} )", is_shared=False)
        file.connect(
            "media-configure",
            lambda _, media: media.get_element().get_by_name("file").set_property("location", clip[0]),
        )
        server.add("/file", file)
        server.add("/live", sample.loop_factory(Path(clip[0])))
    else:
        server.add("/live", factory_of(BALL.format(video=VIDEO_OUT, audio=AUDIO_OUT)))
    points = [PublishPoint(server, "/pub", "va"), PublishPoint(server, "/pubv", "v")]
    if not server.server.attach(None):
        sys.exit(f"port {port} cannot be had")
    say(f"ready {server.server.get_bound_port()}")
    GLib.MainLoop().run()
    assert points, "the points live as long as the server"


if __name__ == "__main__":
    main()
