"""AAC as MPEG-TS carries it: each packet with an ADTS header of its own, and no description of the whole.

Everything behind an ingest wants it as MP4 has it: bare packets, described once. (ISO/IEC 14496-3, 1.A.2 and 1.6.2)"""

from __future__ import annotations

RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)


def bare(packet: bytes) -> tuple[bytes, bytes] | None:
    """(AAC without its header, AudioSpecificConfig) of a packet with one ADTS header; None where it has none, or more
    than one block of samples, or says too little."""
    if len(packet) < 7 or packet[0] != 0xFF or packet[1] & 0xF6 != 0xF0:
        return None
    object_type, rate_index = (packet[2] >> 6) + 1, packet[2] >> 2 & 0xF
    channels = (packet[2] & 1) << 2 | packet[3] >> 6
    length = (packet[3] & 3) << 11 | packet[4] << 3 | packet[5] >> 5
    header = 7 if packet[1] & 1 else 9
    if rate_index >= len(RATES) or not channels or packet[6] & 3 or not header < length <= len(packet):
        return None
    config = object_type << 11 | rate_index << 7 | channels << 3
    return packet[header:length], config.to_bytes(2, "big")


def rate_and_channels(config: bytes) -> tuple[int, int]:
    """(samples per second, channels) of an AudioSpecificConfig made by `bare`."""
    value = int.from_bytes(config[:2], "big")
    return RATES[value >> 7 & 0xF], CHANNELS[value >> 3 & 0xF]


def low_complexity(rate: int, channels: int) -> bytes:
    """The AudioSpecificConfig of plain AAC; empty where it has no number for the rate or the channels."""
    if rate not in RATES or channels not in CHANNELS[1:]:
        return b""
    return (2 << 11 | RATES.index(rate) << 7 | CHANNELS.index(channels) << 3).to_bytes(2, "big")
