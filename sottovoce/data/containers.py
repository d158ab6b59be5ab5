"""What the bytes of an audio file say, before any decoder is asked.

Headers go wrong in known ways: recorders are killed before they write the sizes, programs write to a pipe, downloads
stop, streams are joined with `cat`. Here a header is compared with the bytes that are there. A size that was never
written is replaced by what is there; a file that holds less than it announces is named; nothing is ever cut because
of a number in a header.

    whole(path)       a file as decoders should see it: itself, or a `view` of it with a header that is true
    links(path)       the streams of a file, more than one where files were joined
    announced(path)   bytes that a container says it has; more than there are means that the end is missing
    stranger(path)    what a file is that is no audio at all: text, a web page
"""

import re
import struct
from pathlib import Path

from sottovoce.data import archives

LARGEST = 0xFFFFFFFF  # size that a header of 32 bits can tell
UNKNOWN = 0x7FFF0000  # sizes from here on come from programs that did not know them
TRAIL = 4096  # bytes behind the data of a WAV that are no chunks, from which on they are taken for samples
# What begins behind the samples of a WAV: chunks of the formats and programs that write them there, and tags.
BEHIND = {
    b"LIST", b"iXML", b"bext", b"axml", b"chna", b"cue ", b"smpl", b"inst", b"acid", b"cart", b"fact", b"PEAK", b"plst",
    b"id3 ", b"ID3 ", b"JUNK", b"junk", b"PAD ", b"FLLR", b"_PMX", b"umid", b"afsp", b"minf", b"elm1", b"regn", b"DGDA",
    b"levl", b"link", b"mext", b"SAUR", b"strc", b"LGWV", b"Cr8r", b"AFAn", b"APET", b"SNDM", b"DISP", b"CSET",
}  # fmt: skip
TAGS = (b"ID3", b"TAG", b"LYRICS")
SEARCH = 1 << 16  # bytes in which the first frame of an MP3 is looked for
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # the object of a .wma that holds the file's size


def view(path: Path, start: int = 0, stop: int | None = None, head: bytes = b"") -> archives.Window:
    """Bytes [start, stop) of a file behind a `head` of our own."""
    size = (archives.stat(path)[0] if stop is None else stop) - start
    return archives.Window(archives.opened(path), start, size, head)


def stranger(path: Path) -> str:
    """What a file is instead of audio, and what to do, as two sentences; "" when nothing is known against it."""
    with archives.opened(path) as file:
        head = file.read(256).lstrip(b"\xef\xbb\xbf \r\n\t")
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "Found a text (UTF-16). Name the recording"
    if head[:14].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "Found a web page, as a download that needs a login leaves it. Download it again"
    return ""


def whole(path: Path) -> archives.Window | None:
    """A view of a file whose header is made true, None when the header can stay as it is."""
    size = archives.stat(path)[0]
    with archives.opened(path) as file:
        head = file.read(24)
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
            return _whole_wav(path, file, head, size)
        if head[:4] == b"fLaC" and size > 128 and _at(file, size - 128, 3) == b"TAG":
            return view(path, 0, size - 128)  # without an ID3v1, which is none of a FLAC's
    if head[:4] == b".snd" and len(head) == 24:
        start, length = struct.unpack(">2I", head[4:12])
        if start >= 24 and (length == 0 < size - start or size - start - length > TRAIL):
            return view(path, 12, head=head[:8] + b"\xff" * 4)  # all there is
    return None


def _whole_wav(path: Path, file, head: bytes, size: int) -> archives.Window | None:
    """A WAV is made new from its format and its samples where the size of the samples cannot be meant."""
    order = ">" if head[:4] == b"RIFX" else "<"
    kept, at, claimed, crooked = b"", 12, 0, False  # chunks a decoder needs; position; size by the ds64 chunk
    while True:
        name, length = _chunk(file, at, order)
        if name == b"data":
            break
        if not _is_name(name):
            return None  # no samples to be found
        if name == b"ds64":
            claimed = int.from_bytes(_at(file, at + 16, 8), "little")
        if name in (b"fmt ", b"fact") and length < SEARCH:
            body = _at(file, at + 8, length)
            kept += name + struct.pack(order + "I", length) + body + b"\0" * (length % 2)
        following = at + 8 + length + length % 2
        if length % 2 and _is_name(_at(file, following - 1, 4)) and not _is_name(_at(file, following, 4)):
            following, crooked = following - 1, True  # an odd chunk without its fill byte
        at = following
    start, length = at + 8, claimed if length == LARGEST and claimed else length
    present = size - start
    riff = struct.unpack(order + "I", head[4:8])[0] + 8
    if length > present:  # where the frame fits the file, the size inside was estimated
        meant = length < UNKNOWN and abs(riff - size) > 8
    elif length == 0:
        meant = _are_chunks(file, start + start % 2, size, order)
    else:
        trail = start + length
        meant = length != LARGEST and (
            present - length <= TRAIL
            or any(_begins(file, at) for at in {trail, trail + length % 2})
            or _are_chunks(file, trail + trail % 2, size, order)
            or _are_zeros(file, trail)
        )
    if meant and not (crooked and length <= present):
        return None
    stop = start + length if meant else size
    return view(path, start, stop, _wav_head(kept, stop - start, order))


def _wav_head(kept: bytes, length: int, order: str) -> bytes:
    """What comes before so many bytes of samples: of 4 GiB and more a size of 64 bits (EBU Tech 3306)."""
    riff = 12 + len(kept) + length
    if riff > LARGEST and order == "<":
        wide = struct.pack("<3QI", riff + 36, length, 0, 0)
        kept = b"ds64" + struct.pack("<I", len(wide)) + wide + kept
        return b"RF64" + b"\xff" * 4 + b"WAVE" + kept + b"data" + b"\xff" * 4
    told, present = (struct.pack(order + "I", min(n, LARGEST)) for n in (riff, length))
    return (b"RIFX" if order == ">" else b"RIFF") + told + b"WAVE" + kept + b"data" + present


def _at(file, at: int, n: int) -> bytes:
    file.seek(at)
    return file.read(n)


def _chunk(file, at: int, order: str) -> tuple[bytes, int]:
    found = _at(file, at, 8)
    return (found[:4], struct.unpack(order + "I", found[4:])[0]) if len(found) == 8 else (b"", 0)


def _is_name(four: bytes) -> bool:
    return len(four) == 4 and all(32 <= c < 127 for c in four)


def _begins(file, at: int) -> bool:
    """True where something begins that is written behind samples, however it ends."""
    found = _at(file, at, 8)
    return found[:4] in BEHIND or found.startswith(TAGS)


def _are_chunks(file, at: int, size: int, order: str) -> bool:
    """True when what follows the samples are chunks, one after another to the end of the file, or nothing."""
    while at + 8 <= size:
        name, length = _chunk(file, at, order)
        if not _is_name(name) or at + 8 + length > size + 8:
            return False
        at += 8 + length + length % 2
    return True


def _are_zeros(file, at: int) -> bool:
    """True when a file is filled up with nothing."""
    file.seek(at)
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            return False
    return True


def links(path: Path) -> list[tuple[int, int]]:
    """[start, stop) in bytes of the streams of a file: one, or more where files were joined end to end."""
    with archives.opened(path) as file:
        head = file.read(12)
        size = archives.stat(path)[0]
        if head[:4] == b"OggS":
            return _pages(file, size)[0]
        if head[:4] == b"fLaC":
            starts = _marks(file)
        elif head[:4] == b"RIFF" and head[8:] == b"WAVE":
            starts = [0]
            while head[:4] == b"RIFF" and head[8:] == b"WAVE":
                length = struct.unpack("<I", head[4:8])[0]
                following = starts[-1] + 8 + length + length % 2
                head = _at(file, following, 12)
                starts.append(following)
            starts.pop()
        else:
            starts = [0]
    return list(zip(starts, [*starts[1:], size], strict=True))


def _pages(file, size: int) -> tuple[list[tuple[int, int]], int]:
    """Links of an Ogg chain, and where the last page ends: behind the file where it was cut.

    Pages: RFC 3533, section 6. A link begins at a page that begins a stream after one that did not; streams that
    begin together (audio and video) belong together.
    """
    starts, beginning, at, end = [0], True, 0, 0
    while at + 27 <= size:
        page = _at(file, at, 27)
        if page[:4] != b"OggS":
            found = _at(file, at + 1, SEARCH).find(b"OggS")
            at += 1 + (found if found >= 0 else SEARCH - 3)
            continue
        begins = bool(page[5] & 2)
        if begins and not beginning:
            starts.append(at)
        beginning = begins
        at += 27 + page[26] + sum(file.read(page[26]))
        end = at
    return list(zip(starts, [*starts[1:], size], strict=True)), end


def _marks(file) -> list[int]:
    """Where a FLAC stream begins: its mark and the head of its first block (RFC 9639, 8.1), whose length is known."""
    found, at, before = [], 0, b""
    file.seek(0)
    while block := file.read(1 << 20):
        joined = before + block
        found += [at - len(before) + m.start() for m in re.finditer(rb"fLaC[\x00\x80]\x00\x00\x22", joined)]
        at, before = at + len(block), joined[-7:]
    return found or [0]


def mpeg_start(path: Path) -> tuple[int, int]:
    """(byte of the frame that holds an MP3's table of contents, bytes it announces from there on); 0, 0 without.

    The table ("Xing" in files of variable rate, "Info" in others) lies in the first frame, which is silent.
    """
    with archives.opened(path) as file:
        head = file.read(10)
        tag = 0
        if head[:3] == b"ID3":  # ID3v2: seven bits a byte
            tag = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        data = _at(file, tag, SEARCH)
    for name in (b"Xing", b"Info"):
        at = data.find(name)
        for back in (13, 21, 36):  # MPEG 2 mono, MPEG 1 mono or 2 stereo, MPEG 1 stereo
            begin = at - back
            if at >= 0 and begin >= 0 and data[begin] == 0xFF and data[begin + 1] & 0xE0 == 0xE0:
                flags = int.from_bytes(data[at + 4 : at + 8], "big")
                field = at + 8 + 4 * (flags & 1)
                return tag + begin, int.from_bytes(data[field : field + 4], "big") if flags & 2 else 0
    return 0, 0


def announced(path: Path) -> int:
    """The size in bytes that a file must have by its own account, 0 when it gives none."""
    size = archives.stat(path)[0]
    with archives.opened(path) as file:
        head = file.read(4096)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _boxes(file, size)
        if head[:4] == b"caff":
            return _caf(file, size)
        if head[:4] == b"OggS":
            return _pages(file, size)[1]
    if head[:4] == b"\x1aE\xdf\xa3":
        return _segment(head)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        length = struct.unpack("<I", head[4:8])[0]
        return 0 if length >= UNKNOWN else length  # and 8 before it; fill bytes are not always counted
    if head[:7] == b"NIST_1A":
        fields = dict(re.findall(rb"(\w+) -i (\d+)", head))
        samples = int(fields.get(b"sample_count", 0)) * int(fields.get(b"channel_count", 1))
        start = head[8:16].strip()
        known = start.isdigit() and b"shorten" not in head
        return int(start) + samples * int(fields.get(b"sample_n_bytes", 1)) if known else 0
    if ASF_FILE in head:
        at = head.index(ASF_FILE) + 40
        live = at + 48 <= len(head) and head[at + 48] & 1  # "broadcast": the size is not valid
        return 0 if live else int.from_bytes(head[at : at + 8], "little")
    return 0


def _boxes(file, size: int) -> int:
    """MP4 and QuickTime: where the last box ends (ISO 14496-12, 4.2); a box of length 0 goes to the end."""
    at = 0
    while at + 8 <= size:
        length = int.from_bytes(_at(file, at, 4), "big")
        if length == 1:
            length = int.from_bytes(_at(file, at + 8, 8), "big")
        if length < 8:
            return 0
        at += length
    return at


def _caf(file, size: int) -> int:
    """Core Audio Format: where the last chunk ends; a recording that was not finished has a length of -1 or 0."""
    at = 8
    while at + 12 <= size:
        chunk = _at(file, at, 12)
        length = int.from_bytes(chunk[4:], "big")
        if length >= 1 << 62 or (chunk[:4] == b"data" and length == 0) or not _is_name(chunk[:4]):
            return 0
        at += 12 + length
    return at


def _segment(head: bytes) -> int:
    """Matroska and webm: where the segment ends (RFC 8794, 6); a live recording does not say."""
    first, width = _number(head, 4)
    at = 4 + width + first
    if head[at : at + 4] != b"\x18S\x80g":
        return 0
    length, width = _number(head, at + 4)
    return 0 if length == (1 << 7 * width) - 1 else at + 4 + width + length


def _number(data: bytes, at: int) -> tuple[int, int]:
    """(value, width in bytes) of a number whose leading zeros count its bytes."""
    if at >= len(data) or data[at] == 0:
        return 0, 1
    width = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1), width
