"""Sends a test picture and a tone by WHIP until it is killed: python whip_sender.py URL FOLDER

FOLDER is for the certificate. FFmpeg's own, made on the fly, is not taken by aiortc: it must have an elliptic curve."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

SOURCE = "testsrc2=s=160x90:r=24,realtime[out0];sine=f=440:r=48000,asetnsamples=960[out1]"


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    subprocess.run(
        [*command, "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=test"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    options = {"cert_file": certificate, "key_file": key}
    with av.open(SOURCE, format="lavfi") as source, av.open(url, "w", format="whip", options=options) as output:
        video: Any = output.add_stream("libx264", rate=24, options={"profile": "baseline", "tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = 160, 90, "yuv420p"
        video.codec_context.max_b_frames, video.codec_context.gop_size = 0, 24
        audio: Any = output.add_stream("libopus", rate=48000, layout="stereo")
        resampler = av.AudioResampler("s16", "stereo", 48000)
        for frame in source.decode():
            if isinstance(frame, av.VideoFrame):
                picture = frame.reformat(format="yuv420p")
                picture.pict_type = av.video.frame.PictureType.NONE
                output.mux(video.encode(picture))
            elif isinstance(frame, av.AudioFrame):
                for resampled in resampler.resample(frame):
                    resampled.time_base = Fraction(1, 48000)
                    output.mux(audio.encode(resampled))


if __name__ == "__main__":
    main()
