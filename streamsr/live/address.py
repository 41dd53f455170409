"""Addresses of live sources and targets, and how to keep what is secret in them out of every text.

An address shows its masked text only, whoever prints it. FFmpeg's words repeat whole URLs: they go through `Secrets`
before anybody reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

from streamsr.errors import ConfigError

SourceKind = Literal["rtsp", "rtmp", "udp", "srt", "http", "camera", "screen", "lavfi", "file"]
TargetKind = Literal["rtsp", "rtmp", "udp", "srt", "whip", "hls", "record"]
HIDDEN = "***"

SOURCES = (
    "rtsp:// rtmp:// udp:// srt:// http:// (and with s: rtsps:// rtmps:// https://), camera:0, screen:, lavfi:GRAPH,"
    " or the path of a file"
)
TARGETS = (
    "rtsp:// rtmp:// udp:// srt://, whip:URL, hls:FOLDER, record:PATH, or a path that ends in .mp4, .mkv, .ts or .m3u8"
)
_SOURCE_SCHEMES: dict[str, SourceKind] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "rtmp": "rtmp",
    "rtmps": "rtmp",
    "udp": "udp",
    "srt": "srt",
    "http": "http",
    "https": "http",
}
_TARGET_SCHEMES: dict[str, TargetKind] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "rtmp": "rtmp",
    "rtmps": "rtmp",
    "udp": "udp",
    "srt": "srt",
}
_BY_PORT = ("udp", "srt")
"""The host may be left out, the port may not."""
_RECORDINGS = (".mp4", ".mkv", ".ts")
_SCREEN = re.compile(r"(:\d+(\.\d+)?)?(\+\d+,\d+)?")

_USER = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s?#]+@", re.IGNORECASE)
# A raw slash, # or ? in a password ends the authority for a parser; then what looks like a port is no number.
_USER_RAW = re.compile(r"([a-z][a-z0-9+.-]*://)[^/\s@:?#]*:(?!\d*(?:[/\s\"']|$))[^\s@]*@", re.IGNORECASE)
_USER_REST = re.compile(rf"(://{re.escape(HIDDEN)}@)[^\s/]*@")
_SECRET_WORDS = "token|key|pass|pwd|secret|auth|sig|stream_?id|credential|jwt|session|user|login"
_QUERY = re.compile(rf"([?&;][\w.-]*(?:{_SECRET_WORDS})[\w.-]*=)[^&;#\s\"'<>]+", re.IGNORECASE)
_SETTING = re.compile(
    r"\b((?:access_?|auth_?)?token|api_?key|stream_?key|stream_?id|passphrase|password|passwd|secret)=[^&,;\s\"'<>]+",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(authorization\s*[:=]\s*|bearer\s+)[^\r\n\"'<>]+", re.IGNORECASE)
_RTMP_KEY = re.compile(r"(rtmps?://[^/\s]*/[^\s?#\"'<>]*?/)[^/\s?#\"'<>]+(?=/?(?:[?#\s\"'<>]|$))", re.IGNORECASE)
_MANY_LETTERS = 10


@dataclass(frozen=True, slots=True)
class SourceAddress:
    """Where a stream comes from. `url`: as FFmpeg takes it for network kinds; "camera:0", "screen::0+10,20", a lavfi
    graph, a path. It may hold a password: only what opens the source looks at it."""

    kind: SourceKind
    url: str = field(repr=False)

    @property
    def masked(self) -> str:
        return masked(f"lavfi:{self.url}" if self.kind == "lavfi" else self.url)

    def __str__(self) -> str:
        return self.masked

    def __repr__(self) -> str:
        return f"SourceAddress({self.masked!r})"


@dataclass(frozen=True, slots=True)
class TargetAddress:
    """Where a stream goes. `url`: as FFmpeg takes it for network kinds, http(s):// for whip; the folder, or the path
    of the playlist, for hls; the path for record. It may hold a password or a stream key."""

    kind: TargetKind
    url: str = field(repr=False)

    @property
    def masked(self) -> str:
        prefix = f"{self.kind}:" if self.kind in ("whip", "hls", "record") else ""
        return prefix + masked(self.url)

    def __str__(self) -> str:
        return self.masked

    def __repr__(self) -> str:
        return f"TargetAddress({self.masked!r})"


def parse_source(text: str) -> SourceAddress:
    """The address that a person wrote. Raises ConfigError; whether it can be reached is seen when it is opened."""
    text = _clean(text, "source", SOURCES)
    scheme, _, rest = text.partition(":")
    lower = scheme.lower()
    if rest.startswith("//"):
        if lower not in _SOURCE_SCHEMES:
            raise ConfigError(f"{lower}:// is no kind of source", where=masked(text), remedy=f"Write {SOURCES}.")
        kind = _SOURCE_SCHEMES[lower]
        return SourceAddress(kind, _checked(text, kind))
    if lower == "camera":
        if not rest:
            raise ConfigError("which camera", where=text, remedy="Write camera:0 for the first one.")
        return SourceAddress("camera", f"camera:{rest}")
    if re.fullmatch(r"/dev/video\d+", text):
        return SourceAddress("camera", f"camera:{text}")
    if lower == "screen":
        if not _SCREEN.fullmatch(rest):
            raise ConfigError(
                "not a screen", where=text, remedy="Write screen: for the whole display, or screen::0.0+100,50."
            )
        return SourceAddress("screen", f"screen:{rest}")
    if lower == "lavfi":
        if not rest:
            raise ConfigError("an empty filter graph", where=text, remedy="Write lavfi:testsrc2=size=640x360:rate=25.")
        return SourceAddress("lavfi", rest)
    return SourceAddress("file", text)


def parse_target(text: str) -> TargetAddress:
    """The address that a person wrote. Raises ConfigError; nothing is opened or made."""
    text = _clean(text, "target", TARGETS)
    scheme, _, rest = text.partition(":")
    lower = scheme.lower()
    if lower in ("whip", "whips"):
        url = f"http{lower[4:]}:{rest}" if rest.startswith("//") else rest
        if urlsplit(url).scheme.lower() not in ("http", "https"):
            raise ConfigError("WHIP goes over http", where=masked(text), remedy="Write whip:https://host/path.")
        return TargetAddress("whip", _checked(url, "http"))
    if lower in ("http", "https") and rest.startswith("//"):
        raise ConfigError("http is no kind of target", where=masked(text), remedy="For WebRTC write whip:URL.")
    if rest.startswith("//"):
        if lower not in _TARGET_SCHEMES:
            raise ConfigError(f"{lower}:// is no kind of target", where=masked(text), remedy=f"Write {TARGETS}.")
        kind = _TARGET_SCHEMES[lower]
        return TargetAddress(kind, _checked(text, kind))
    if lower in ("hls", "record") and not rest:
        raise ConfigError(f"{lower}: without a path", where=text, remedy="Write hls:FOLDER or record:FILE.mp4.")
    if lower == "hls":
        return TargetAddress("hls", rest)
    if lower == "record":
        if not rest.lower().endswith(_RECORDINGS):
            raise ConfigError("not a kind of recording", where=text, remedy="The name ends in .mp4, .mkv or .ts.")
        return TargetAddress("record", rest)
    if text.lower().endswith(_RECORDINGS):
        return TargetAddress("record", text)
    if text.lower().endswith(".m3u8"):
        return TargetAddress("hls", text)
    raise ConfigError("not a target", where=masked(text), remedy=f"Write {TARGETS}.")


def masked(text: str) -> str:
    """`text` (an address, a log line, an error) without what is secret in the URLs and settings it holds: users and
    passwords, tokens and keys in queries, the last part of an RTMP path."""
    text = _USER.sub(rf"\1{HIDDEN}@", text)
    text = _USER_RAW.sub(rf"\1{HIDDEN}@", text)
    text = _USER_REST.sub(r"\1", text)
    text = _QUERY.sub(rf"\1{HIDDEN}", text)
    text = _SETTING.sub(rf"\1={HIDDEN}", text)
    text = _HEADER.sub(rf"\1{HIDDEN}", text)
    return _RTMP_KEY.sub(rf"\1{HIDDEN}", text)


class Secrets:
    """Knows the secrets of some URLs and takes them out of any text, however FFmpeg puts them there: whole, split, with
    percent signs or without. An RTMP key that is a plain short word, as `live`, is only hidden inside URLs."""

    def __init__(self, *urls: str) -> None:
        found: set[str] = set()
        for url in urls:
            for secret in _secrets_of(url):
                found |= {secret, unquote(secret), quote(unquote(secret), safe="")}
        words = sorted((word for word in found if word and word != HIDDEN), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_as_pattern, words))) if words else None

    def __repr__(self) -> str:
        return "Secrets(...)"

    def hide(self, text: str) -> str:
        text = masked(text)
        return self._pattern.sub(HIDDEN, text) if self._pattern is not None else text


def _secrets_of(url: str) -> list[str]:
    """User, password, secret query values and RTMP key of one URL, as they are written in it."""
    found: list[str] = []
    user = _USER.search(url) or _USER_RAW.search(url)
    if user is not None:
        userinfo = user[0][len(user[1]) : -1]
        found += [userinfo, *userinfo.split(":", 1)]
    found += [match[0][len(match[1]) :] for match in _QUERY.finditer(url)]
    key = _RTMP_KEY.search(url)
    if key is not None:
        word = key[0][len(key[1]) :]
        found += [] if word.isalpha() and len(word) < _MANY_LETTERS else [word]
    return found


def _as_pattern(word: str) -> str:
    """Short ones only where they stand alone: a password of "a" must not eat every a."""
    literal = re.escape(word)
    return literal if len(word) >= 6 else rf"(?<![A-Za-z0-9]){literal}(?![A-Za-z0-9])"


def _clean(text: str, what: str, allowed: str) -> str:
    text = text.strip()
    if not text:
        raise ConfigError(f"an empty {what}", remedy=f"Write {allowed}.")
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ConfigError(f"a {what} is one line of text", where=masked(ascii(text)))
    return text


def _checked(url: str, kind: str) -> str:
    """`url` with its scheme in small letters. Raises ConfigError, without secrets in it."""
    scheme, _, rest = url.partition(":")
    where = masked(url)
    if " " in url:
        raise ConfigError("a blank in an address", where=where, remedy="Write it as %20.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        what = "the part between // and the next / is not HOST:PORT"
        remedy = "In a user name or password write / as %2F, @ as %40, : as %3A, # as %23, ? as %3F."
        raise ConfigError(what, where=where, remedy=remedy) from None
    if not host and kind not in _BY_PORT:
        raise ConfigError("an address without a host", where=where, remedy=f"Write {scheme.lower()}://HOST/...")
    if port is None and kind in _BY_PORT:
        raise ConfigError("an address without a port", where=where, remedy=f"Write {scheme.lower()}://HOST:PORT.")
    return f"{scheme.lower()}:{rest}"
