"""What libsndfile does not do for tags and streams: ID3 in any language, Ogg files that are the same every time.

Sources: ID3v2.3.0 informal standard; RFC 3533 (Ogg).
"""

import struct
import zlib
from collections.abc import Mapping

FRAMES = {"title": "TIT2", "artist": "TPE1", "copyright": "TCOP", "software": "TSSE", "comment": "COMM"}
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
SERIAL, CHECKSUM = 14, 22  # places in the header of an Ogg page


def id3(texts: Mapping[str, str]) -> bytes:
    """An ID3v2.3 tag, UTF-16, to be put before an MP3 stream."""
    frames = b"".join(frame(FRAMES[name], text) for name, text in texts.items())
    size = bytes(len(frames) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\x00\x00" + size + frames


def frame(name: str, text: str) -> bytes:
    encoded = text.encode("utf-16")  # with a byte order mark
    content = b"\x01" + (b"eng\xff\xfe\x00\x00" if name == "COMM" else b"") + encoded
    return name.encode() + struct.pack(">IH", len(content), 0) + content


def same_serial(stream: bytes, serial: int = 1) -> bytes:
    """An Ogg stream with this serial number on all pages in place of the one that was drawn."""
    out, at = bytearray(stream), 0
    while at < len(out):
        count = out[at + 26]
        end = at + 27 + count + sum(out[at + 27 : at + 27 + count])
        out[at + SERIAL : at + SERIAL + 4] = struct.pack("<I", serial)
        out[at + CHECKSUM : at + CHECKSUM + 4] = bytes(4)
        out[at + CHECKSUM : at + CHECKSUM + 4] = struct.pack("<I", checksum(bytes(out[at:end])))
        at = end
    return bytes(out)


def checksum(page: bytes) -> int:
    """Ogg's CRC-32: zlib's polynomial with the highest bit first, from 0, not inverted."""
    mirrored = zlib.crc32(page.translate(MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
