#!/usr/bin/env python3
"""Writes a 24-bit BMP, as SDL saves it, as PNG, and fails when nothing is drawn there:

    tests/hosts/png.py PICTURE.bmp PICTURE.png
"""

import struct
import sys
import zlib


def rows_of(bmp):
    """Width, height, and rows of RGB from the top down."""
    begin, = struct.unpack_from("<I", bmp, 10)
    width, height, _, bits = struct.unpack_from("<iiHH", bmp, 18)
    assert bits == 24, f"{bits} bits a pixel"
    pitch = (width * 3 + 3) // 4 * 4
    rows = []
    for y in range(abs(height)):
        line = bmp[begin + y * pitch:begin + y * pitch + width * 3]
        row = bytearray(width * 3)
        row[0::3], row[1::3], row[2::3] = line[2::3], line[1::3], line[0::3]
        rows.append(bytes(row))
    return width, abs(height), rows[::-1] if height > 0 else rows


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def main():
    width, height, rows = rows_of(open(sys.argv[1], "rb").read())
    colours = {row[i:i + 3] for row in rows[::5] for i in range(0, len(row), 15)}
    assert len(colours) > 8, f"{sys.argv[1]} shows {len(colours)} colours"
    with open(sys.argv[2], "wb") as png:
        png.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)))
        png.write(chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows), 6)) + chunk(b"IEND", b""))
    print(f"picture: {width}x{height}, {len(colours)} colours among those looked at")


main()
