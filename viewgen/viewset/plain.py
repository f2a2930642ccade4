"""Find where the byte strings of a Parquet column lie in their file, so that one row can be read alone.
Leaves out: files whose pages are compressed or use a dictionary (shards.py reads those through DuckDB).

Pure Python over a mapped file: it starts no thread, so that a forked process can use it. The format is that of
parquet.apache.org: a footer in Thrift's compact protocol, pages of values, each value a length and its bytes."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Place = tuple[int, int]
"""Offset in the file and length in bytes."""
_BYTE_ARRAY, _UNCOMPRESSED, _PLAIN = 6, 0, 0
_DATA_PAGE, _DATA_PAGE_V2 = 0, 3


class NotPlainError(Exception):
    """A column whose values do not lie in the file as they are."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One column in one row group."""

    offset: int
    num_values: int
    """Rows, nulls included."""


def byte_places(path: Path, column: tuple[str, ...]) -> list[Place | None]:
    """Return the place of each row's bytes in the column, None for a null, in order of the rows.

    Raises NotPlainError for a compressed or dictionary-coded column, and for a file that is no sound Parquet.

    byte_places(Path("views/part-00000.parquet"), ("image", "bytes"))[0]    # (4, 1712)
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            chunks, max_level = _chunks(data, column)
            return [place for chunk in chunks for place in _places(data, chunk, max_level)]
    except (struct.error, IndexError, KeyError, ValueError, TypeError, OSError) as error:
        raise NotPlainError(f"{path}: {error}") from None


def _chunks(data: mmap.mmap, column: tuple[str, ...]) -> tuple[list[_Chunk], int]:
    """Return the column's chunks in order of the row groups, and the level of a value that is there."""
    if data[-4:] != b"PAR1":
        raise NotPlainError("no footer")
    (length,) = struct.unpack("<I", data[-8:-4])
    footer, _ = _struct(data, len(data) - 8 - length)
    level = _max_level(footer[2], column)
    chunks = []
    for group in footer.get(4, ()):
        (meta,) = (chunk[3] for chunk in group[1] if tuple(name.decode() for name in chunk[3][3]) == column)
        if meta[1] != _BYTE_ARRAY or meta[4] != _UNCOMPRESSED or meta.get(11):
            raise NotPlainError("compressed, or with a dictionary")
        chunks.append(_Chunk(offset=meta[9], num_values=meta[5]))
    return chunks, level


def _max_level(elements: list[dict[int, Any]], column: tuple[str, ...]) -> int:
    """Count the optional fields on the way to the column; repeated ones are no plain column."""
    level, at = 0, 1  # the first element is the root
    for name in column:
        while elements[at][4].decode() != name:
            at += _size(elements, at)
        if elements[at].get(3, 0) == 2:
            raise NotPlainError("a list")
        level += elements[at].get(3, 0) == 1
        at += 1
    return level


def _size(elements: list[dict[int, Any]], at: int) -> int:
    """Return the number of elements of a field, its children included."""
    size = 1
    for _ in range(elements[at].get(5, 0)):
        size += _size(elements, at + size)
    return size


def _places(data: mmap.mmap, chunk: _Chunk, max_level: int) -> Iterator[Place | None]:
    at, left = chunk.offset, chunk.num_values
    while left:
        header, at = _struct(data, at)
        end = at + header[3]
        levels, at, num = _levels(data, header, at, max_level)
        for level in levels:
            if level < max_level:
                yield None
                continue
            (length,) = struct.unpack_from("<I", data, at)
            if at + 4 + length > end:
                raise NotPlainError("a value that leaves its page")
            yield at + 4, length
            at += 4 + length
        if at != end:
            raise NotPlainError("a page that holds more than its values")
        at, left = end, left - num


def _levels(data: mmap.mmap, header: dict[int, Any], at: int, max_level: int) -> tuple[list[int], int, int]:
    """Return the levels of a page's rows, the begin of its values, and the number of its rows."""
    if header[1] == _DATA_PAGE:
        page = header[5]
        num, coding = page[1], page[2]
        if max_level:
            (length,) = struct.unpack_from("<I", data, at)
            levels, begin = _hybrid(data[at + 4 : at + 4 + length], num, max_level), at + 4 + length
        else:
            levels, begin = [0] * num, at
    elif header[1] == _DATA_PAGE_V2:
        page = header[8]
        num, coding, length = page[1], page[4], page[5]
        begin = at + page.get(6, 0) + length
        levels = _hybrid(data[begin - length : begin], num, max_level) if max_level else [0] * num
    else:
        raise NotPlainError("a page of another sort")
    if coding != _PLAIN:
        raise NotPlainError("another coding")
    return levels, begin, num


def _hybrid(data: bytes, num: int, max_level: int) -> list[int]:
    """Decode runs and bit-packed groups of small numbers."""
    width = max_level.bit_length()
    found: list[int] = []
    at = 0
    while len(found) < num:
        head, at = _varint(data, at)
        if head & 1:
            packed = int.from_bytes(data[at : at + (head >> 1) * width], "little")
            found += [(packed >> (n * width)) & ((1 << width) - 1) for n in range((head >> 1) * 8)]
            at += (head >> 1) * width
        else:
            found += [data[at]] * min(head >> 1, num)
            at += 1
    return found[:num]


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _struct(data: mmap.mmap, at: int) -> tuple[dict[int, Any], int]:
    """Read a Thrift struct: field number -> value."""
    found: dict[int, Any] = {}
    number = 0
    while (head := data[at]) != 0:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            zigzag, at = _varint(data, at)
            number = (zigzag >> 1) ^ -(zigzag & 1)
        found[number], at = _value(data, at, head & 15)
    return found, at + 1


def _value(data: mmap.mmap, at: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2):
        return kind == 1, at
    if kind == 3:
        return data[at], at + 1
    if kind in (4, 5, 6):
        zigzag, at = _varint(data, at)
        return (zigzag >> 1) ^ -(zigzag & 1), at
    if kind == 7:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == 8:
        length, at = _varint(data, at)
        return data[at : at + length], at + length
    if kind in (9, 10):
        head = data[at]
        num, at = (head >> 4, at + 1) if head >> 4 < 15 else _varint(data, at + 1)
        items = []
        for _ in range(num):
            item, at = (data[at] == 1, at + 1) if head & 15 in (1, 2) else _value(data, at, head & 15)
            items.append(item)
        return items, at
    if kind == 12:
        return _struct(data, at)
    raise NotPlainError(f"a field of kind {kind}")
