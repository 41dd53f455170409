from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsr.errors import ConfigError
from streamsr.live.address import Secrets, SourceAddress, TargetAddress, masked, parse_source, parse_target


@pytest.mark.parametrize(
    ("text", "kind", "url"),
    [
        ("rtsp://cam.local/live", "rtsp", "rtsp://cam.local/live"),
        ("RTSPS://user:pw@cam:322/live", "rtsp", "rtsps://user:pw@cam:322/live"),
        ("rtmp://host/app/key", "rtmp", "rtmp://host/app/key"),
        ("udp://@239.0.0.1:5000?fifo_size=5", "udp", "udp://@239.0.0.1:5000?fifo_size=5"),
        ("udp://:5000", "udp", "udp://:5000"),
        ("srt://:9000?mode=listener", "srt", "srt://:9000?mode=listener"),
        ("rtsp://[::1]:8554/x", "rtsp", "rtsp://[::1]:8554/x"),
        (" https://host/live.m3u8 ", "http", "https://host/live.m3u8"),
        ("camera:0", "camera", "camera:0"),
        ("/dev/video2", "camera", "camera:/dev/video2"),
        ("camera:FaceTime HD Camera", "camera", "camera:FaceTime HD Camera"),
        ("screen:", "screen", "screen:"),
        ("screen::77.0+10,20", "screen", "screen::77.0+10,20"),
        ("screen:+10,20", "screen", "screen:+10,20"),
        ("lavfi:testsrc2=s=64x48", "lavfi", "testsrc2=s=64x48"),
        ("films/a: b.mkv", "file", "films/a: b.mkv"),
    ],
)
def test_sources(text: str, kind: str, url: str) -> None:
    source = parse_source(text)
    assert (source.kind, source.url) == (kind, url)


@pytest.mark.parametrize(
    ("text", "kind", "url"),
    [
        ("rtsp://host:8554/pub", "rtsp", "rtsp://host:8554/pub"),
        ("rtmps://host/live2/abcd", "rtmp", "rtmps://host/live2/abcd"),
        ("udp://127.0.0.1:5000", "udp", "udp://127.0.0.1:5000"),
        ("srt://host:9000", "srt", "srt://host:9000"),
        ("whip:https://host/whip", "whip", "https://host/whip"),
        ("whip://host:8080/whip", "whip", "http://host:8080/whip"),
        ("WHIPS://host/whip", "whip", "https://host/whip"),
        ("hls:out/live", "hls", "out/live"),
        ("out/live/index.m3u8", "hls", "out/live/index.m3u8"),
        ("record:out/camera.ts", "record", "out/camera.ts"),
        ("out/Camera.MKV", "record", "out/Camera.MKV"),
    ],
)
def test_targets(text: str, kind: str, url: str) -> None:
    target = parse_target(text)
    assert (target.kind, target.url) == (kind, url)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty source"),
        ("ftp://host/x", "ftp:// is no kind of source"),
        ("rtsp:///live", "without a host"),
        ("rtsp://host:abc/live", "HOST:PORT"),
        ("rtsp://host:99999/live", "HOST:PORT"),
        ("udp://host", "without a port"),
        ("rtsp://ho st/live", "blank"),
        ("camera:", "which camera"),
        ("screen:left", "not a screen"),
        ("lavfi:", "empty filter graph"),
        ("rtsp://host/a\nb", "one line"),
    ],
)
def test_wrong_sources(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as raised:
        parse_source(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty target"),
        ("https://host/whip", "whip:URL"),
        ("whip:host/whip", "WHIP goes over http"),
        ("whip:https:///x", "without a host"),
        ("out/live", "not a target"),
        ("record:a.avi", "not a kind of recording"),
        ("hls:", "without a path"),
        ("file://a.mp4", "file:// is no kind of target"),
    ],
)
def test_wrong_targets(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_target(text)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://admin:hunter2@cam/live",
        "rtsp://admin:hu/nter2@cam/live",
        "rtsp://admin:hu#nter2@cam/live",
        "rtsp://admin:hu?nter2@cam/live",
        "rtsp://admin:hu@hunter2@cam/live",
        "rtsp://admin:h@hunter2#x@cam/live",
        "rtsp://hunter2@cam/live",
        "https://cam/live.m3u8?token=hunter2&x=1",
        "https://cam/live.m3u8?x=1&X-Api-Key=hunter2",
        "srt://cam:9000?streamid=#!::u=hunter2",
        "srt://cam:9000?passphrase=hunter2&mode=caller",
        "rtmp://cam/live/hunter2",
        "rtmp://cam/live/hunter2/",
        "rtmp://cam/live/hunter2?x=1",
        "Error opening 'rtmp://cam/live/hunter2': refused",
        "Authorization: Basic hunter2==",
        "sent Bearer hunter2",
        "passphrase=hunter2, latency=5",
    ],
)
def test_secrets_are_masked_in_any_text(text: str) -> None:
    assert "hunter2" not in masked(text)
    assert "nter2" not in masked(text)
    assert "***" in masked(text)


def test_what_is_not_secret_stays() -> None:
    for text in (
        "rtsp://cam:554/live?channel=1",
        "rtsp://cam:554/live@hd",
        "udp://@239.0.0.1:5000",
        "wrong user name or password",
        "films/a@b.mkv",
        "rtmp://host/app",
    ):
        assert masked(text) == text
    assert masked("rtsp://u:p@cam:554/live?a=1 and rtsp://cam2/") == "rtsp://***@cam:554/live?a=1 and rtsp://cam2/"


def test_an_address_shows_itself_masked() -> None:
    source, target = parse_source("rtsp://u:hunter2@cam/x"), parse_target("whip:https://u:hunter2@host/w?token=hunter2")
    for text in (repr(source), str(source), source.masked, repr(target), str(target), target.masked, f"{[target]}"):
        assert "hunter2" not in text
    assert source.masked == "rtsp://***@cam/x"
    assert target.masked == "whip:https://***@host/w?token=***"
    assert source == SourceAddress("rtsp", "rtsp://u:hunter2@cam/x")
    assert TargetAddress("record", "a.mp4").masked == "record:a.mp4"


def test_a_config_error_does_not_tell() -> None:
    for text in ("rtsp://admin:hu/nter2@cam/live", "ftp://admin:hunter2@cam/live", "rtsp://a:hunter2@ho st/"):
        for parse in (parse_source, parse_target):
            with pytest.raises(ConfigError) as raised:
                parse(text)
            assert "nter2" not in str(raised.value)


def test_secrets_hides_literals_wherever_they_stand() -> None:
    secrets = Secrets("rtsp://admin:p%40ssw0rd@cam/x", "rtmp://host/live2/abcd-1234", "srt://h:1?passphrase=sesame!!")
    said = "login p@ssw0rd or p%40ssw0rd for key abcd-1234; sesame!! failed for admin at cam"
    assert secrets.hide(said) == "login *** or *** for key ***; *** failed for *** at cam"
    assert "ssw0rd" not in secrets.hide("tcp://admin:p%40ssw0rd@cam:554")
    assert repr(secrets) == "Secrets(...)"


def test_short_secrets_and_plain_names_do_not_eat_words() -> None:
    secrets = Secrets("rtsp://u:a@cam/x", "rtmp://host/app/stream")
    assert secrets.hide("a stream named bar") == "*** stream named bar"
    assert Secrets().hide("plain") == "plain"


PASSWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=20)


@given(PASSWORDS)
def test_no_password_survives_percent_encoding(password: str) -> None:
    from urllib.parse import quote

    url = f"rtsp://root:{quote(password, safe='')}@cam.example/live"
    said = f"cannot open {url}: {password} was refused at {password}@cam"
    assert password not in Secrets(url).hide(said).replace("***", "")
    assert quote(password, safe="") not in masked(url)
