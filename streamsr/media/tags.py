"""Tags and chapters: what is carried over, and what would be a lie about the new file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av.container.core import Chapter

# Statistics of the old packets (mkvmerge's, with or without a language), the program that wrote the old file, and
# a turn that is now in the pixels.
_STALE = re.compile(
    r"(BPS|DURATION|NUMBER_OF_FRAMES|NUMBER_OF_BYTES|SOURCE_ID|_STATISTICS_\w+)(-\w+)?"
    r"|encoder|rotate|vendor_id|major_brand|minor_version|compatible_brands|variant_bitrate",
    re.IGNORECASE,
)
_NAMELESS_HANDLER = re.compile(
    r"(Video|Sound|Subtitle|Data|Alias Data|Time ?Code Media|Core Media \w+)Handler"
    r"|Core Media \w+|(L-SMASH|GPAC|ISO Media|Mainconcept|Bento4|Apple).*",
    re.IGNORECASE,
)
# What an MP4 keeps in iTunes' list, which every player reads; any other tag needs the QuickTime kind of list.
_ITUNES = {
    "title",
    "artist",
    "album_artist",
    "composer",
    "album",
    "date",
    "comment",
    "genre",
    "copyright",
    "grouping",
    "lyrics",
    "description",
    "synopsis",
    "show",
    "episode_id",
    "network",
    "episode_sort",
    "season_number",
    "media_type",
    "hd_video",
    "gapless_playback",
    "compilation",
    "keywords",
    "track",
    "disc",
    "sort_name",
    "sort_artist",
    "sort_album",
    "sort_album_artist",
    "sort_composer",
    "sort_show",
    "encoding_tool",
    "creation_time",
    "language",
    "timecode",
    "location",
    "performer",
    "year",
}


def kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that are still true of a file made from this one."""
    return {
        key: value
        for key, value in tags.items()
        if not _STALE.fullmatch(key) and not (key == "handler_name" and _NAMELESS_HANDLER.fullmatch(value.strip("\0 ")))
    }


def foreign_tags(tags: Iterable[str]) -> list[str]:
    """Those tags that would be lost in an MP4 with iTunes' list of tags."""
    return [key for key in tags if key.lower() not in _ITUNES]


def chapters_within(chapters: Iterable[Chapter], origin: Fraction, duration_s: float | None) -> list[Chapter]:
    """The chapters moved by -`origin` seconds and clipped to [0, `duration_s`); those outside are left out."""
    kept: list[Chapter] = []
    for chapter in chapters:
        tick = chapter["time_base"]
        assert tick is not None
        shift = round(origin / tick)
        start, end = max(chapter["start"] - shift, 0), chapter["end"] - shift
        if duration_s is not None:
            end = min(end, round(Fraction(duration_s) / tick))
        if start < end or (start == end and chapter["start"] == chapter["end"]):
            moved: Chapter = {**chapter, "start": start, "end": end}
            kept.append(moved)
    return kept
