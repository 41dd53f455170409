"""One HTTP transfer of a file into its .part: from where the part ends, bounded in time and size."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

import streamsr
from streamsr.errors import WeightsError

CHUNK_BYTES = 256 * 1024
MIN_BYTES_PER_S = 512  # slower than this over a whole timeout is a stall
MAX_BYTES = 2**30

Progress = Callable[[int, int | None], None]


class TransferError(Exception):
    """The transfer ended early, for a reason that may pass."""


def transfer(url: str, part: Path, size: int | None, on_progress: Progress, timeout_s: float) -> None:
    """Asks once for what `part` lacks of the file at `url`, of `size` bytes if known, and returns when it is complete.

    `on_progress(bytes so far, bytes in all or None)` after every chunk. A wait of `timeout_s`, or a crawl for as long,
    ends the transfer. Raises TransferError where another may help, WeightsError where it will not, OSError if `part`
    cannot be written."""
    have = part.stat().st_size if part.exists() else 0
    try:
        reply = _ask(url, have, timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            return _refused(error, part, have)
    with reply:
        have, total = _place(reply, have)
        with part.open("r+b" if have else "wb") as file:
            file.seek(have)
            _copy(reply, file, have, size if total is None else total, on_progress, timeout_s)


def _ask(url: str, have: int, timeout_s: float) -> http.client.HTTPResponse:
    headers = {"User-Agent": f"streamsr/{streamsr.__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        reply: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=timeout_s
        )
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(str(error) or type(error).__name__) from error
    return reply


def _read(reply: http.client.HTTPResponse) -> bytes:
    """The next bytes, b"" at the end. Raises TransferError."""
    try:
        return reply.read1(CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(str(error) or type(error).__name__) from error


def _place(reply: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """(offset of the reply's first byte, size of the whole file if told)."""
    if reply.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", reply.headers.get("Content-Range", ""))
        if match and int(match[1]) == have:
            return have, None if match[2] == "*" else int(match[2])
        raise TransferError("the server answered with another range than was asked for")
    length = reply.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _copy(
    reply: http.client.HTTPResponse, file: IO[bytes], have: int, total: int | None, report: Progress, timeout_s: float
) -> None:
    window_end, window_bytes = time.monotonic() + timeout_s, 0
    while chunk := _read(reply):
        file.write(chunk)
        have += len(chunk)
        window_bytes += len(chunk)
        report(have, total)
        if have > (MAX_BYTES if total is None else total):
            return  # more than announced: the check of the hash will say so
        if time.monotonic() > window_end:
            if window_bytes < MIN_BYTES_PER_S * timeout_s:
                raise TransferError(f"only {window_bytes} bytes came in {timeout_s:g} s")
            window_end, window_bytes = time.monotonic() + timeout_s, 0
    if total is not None and have < total:
        raise TransferError(f"the connection ended after {have} of {total} bytes")


def _refused(error: urllib.error.HTTPError, part: Path, have: int) -> None:
    """Returns if nothing is missing. Raises TransferError where another request may help, else WeightsError."""
    if error.code == 416:
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return
        part.unlink(missing_ok=True)  # longer than the file: begin anew
        raise TransferError("the server has fewer bytes than are here already")
    if error.code in (408, 425, 429) or error.code >= 500:
        raise TransferError(f"the server answered {error.code}")
    raise WeightsError(
        f"cannot fetch the weights: the server answered {error.code}",
        where=error.url,
        remedy="Fetch the file by hand and put it into the folder $STREAMSR_WEIGHTS names.",
    )
