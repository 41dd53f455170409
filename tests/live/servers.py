"""The real servers and devices of the live tests, by one name. Each is a context manager that skips the test where its
programs are missing (.ci/install-live.sh), listens on 127.0.0.1 only, and ends with the test."""

from __future__ import annotations

from tests.live.clips import Shown, clip_with_audio, shown_in
from tests.live.server_process import ServerProcess, free_port, needed, until
from tests.live.servers_devices import Camera, v4l2_camera, xvfb
from tests.live.servers_rtmp import (
    RtmpServer,
    SrtBridge,
    rtmp_server,
    srt_caller,
    srt_listener,
    srt_source,
    udp_sender,
)
from tests.live.servers_rtsp import PYTHON, SAMPLES, RtspServer, rtsp_server
from tests.live.servers_web import FileServer, WhipReceiver, http_server, mute_server, whip_receiver

__all__ = [
    "PYTHON",
    "SAMPLES",
    "Camera",
    "FileServer",
    "RtmpServer",
    "RtspServer",
    "ServerProcess",
    "Shown",
    "SrtBridge",
    "WhipReceiver",
    "clip_with_audio",
    "free_port",
    "http_server",
    "mute_server",
    "needed",
    "rtmp_server",
    "rtsp_server",
    "shown_in",
    "srt_caller",
    "srt_listener",
    "srt_source",
    "udp_sender",
    "until",
    "v4l2_camera",
    "whip_receiver",
    "xvfb",
]
