"""Zips from people: what is taken, what is refused, and that nothing is ever written beside its place."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from classifier.utils.safe_zip import ArchiveError
from trainer.worker import archives
from trainer.worker.protocol import ArchiveBounds

BOUNDS = ArchiveBounds(max_bytes=20 * 2**20, max_members=100, max_ratio=50)
PIXELS = bytes(range(256)) * 8


def zipped(path: Path, *members: str | tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for member in members:
            name, content = (member, PIXELS) if isinstance(member, str) else member
            archive.writestr(name, content)
    return path


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder of its own, so that what escapes from it is seen."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place"


def test_what_a_zip_unpacks_to_is_known_before(place: Path) -> None:
    file = zipped(place / "a.zip", ("a/", b""), ("a/b.png", b"1" * 5000), ("c.txt", b"22"), method=zipfile.ZIP_DEFLATED)
    assert archives.unpacked_bytes(file) == 5002
    with file.open("rb") as opened:
        opened.read(10)
        assert archives.unpacked_bytes(opened) == 5002
        assert opened.tell() == 0
    assert archives.unpacked_bytes(io.BytesIO(b"no zip")) == 0


@pytest.mark.parametrize(
    ("members", "unpacked"),
    [
        (["manifest.csv", "a.png"], {"manifest.csv", "a.png"}),
        (["top/manifest.csv", "top/images/a.png"], {"manifest.csv", "images/a.png"}),
        (["read me.txt", "top/in/manifest.csv", "top/in/a.png"], {"manifest.csv", "a.png"}),
        (["top/SYNTHETIC.txt", "top/b/x.png"], {"SYNTHETIC.txt", "b/x.png"}),
        (["BreaKHis_v1/histology_slides/breast/benign/x.png", "BreaKHis_v1/histology_slides/breast/malignant/y.png"],
         {"benign/x.png", "malignant/y.png"}),
        (["top/benign/x.png"], {"benign/x.png"}),
        (["__MACOSX/._a.png", "top/.DS_Store", "top/a.png", "top/Thumbs.db"], {"a.png"}),
        (["./top/./a.png"], {"a.png"}),
    ],
)  # fmt: skip
def test_the_data_set_is_found_wherever_it_lies(members: list[str], unpacked: set[str], place: Path) -> None:
    file = zipped(place / "a.zip", *members)
    assert archives.inspect(file, BOUNDS) == []
    archives.unpack(file, place / "images", BOUNDS)
    assert files(place / "images") == unpacked
    assert files(place) == {"a.zip", *(f"images/{name}" for name in unpacked)}


def link() -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo("link.png")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info, b"/etc/passwd"


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a way up": (lambda path: zipped(path, "a.png", "../escaped.png"), "lead out of its folder"),
    "a hidden way up": (lambda path: zipped(path, "a/../../escaped.png"), "lead out of its folder"),
    "an absolute name": (lambda path: zipped(path, "/tmp/escaped.png"), "lead out of its folder"),
    "a drive": (lambda path: zipped(path, "C:/escaped.png"), "lead out of its folder"),
    "a backslash": (lambda path: zipped(path, "..\\escaped.png"), "lead out of its folder"),
    "a link": (lambda path: zipped(path, "a.png", link()), "a link or a device"),
    "the same twice": (lambda path: zipped(path, "a/b.png", "a/./b.png"), "2 times"),
    "file and folder": (lambda path: zipped(path, "a", "a/b.png"), "both a file and a folder"),
    "many members": (lambda path: zipped(path, *(f"{n}.png" for n in range(101))), "more than the 100 allowed"),
    "a long name": (lambda path: zipped(path, "a" * 300 + ".png"), "too long"),
    "nothing": (zipped, "holds no files"),
    "rubbish alone": (lambda path: zipped(path, "__MACOSX/a.png"), "holds no files"),
    "another method": (lambda path: zipped(path, "a.png", method=zipfile.ZIP_LZMA), "not read here"),
    "many bytes": (lambda path: zipped(path, ("a.png", bytes(21 * 2**20))), "more than the 20 MB allowed"),
    "a bomb": (lambda path: zipped(path, ("a.png", bytes(19 * 2**20)), method=zipfile.ZIP_DEFLATED), "like a bomb"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", REFUSED)
def test_what_may_harm_is_refused_without_unpacking(name: str, place: Path) -> None:
    make, words = REFUSED[name]
    file = make(place / "a.zip")
    problems = archives.inspect(file, BOUNDS)
    assert words in " ".join(problems)
    with file.open("rb") as opened:  # as a web form has it
        assert archives.inspect(opened, BOUNDS) == problems
        assert opened.tell() == 0
    with pytest.raises(ArchiveError) as caught:
        archives.unpack(file, place / "images", BOUNDS)
    assert caught.value.problems == problems
    assert files(place.parent) == {"place/a.zip"}


def test_an_encrypted_archive_is_refused(place: Path) -> None:
    file = zipped(place / "a.zip", "a.png")
    content = bytearray(file.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    file.write_bytes(content)
    assert "without a password" in archives.inspect(file, BOUNDS)[0]


def test_what_is_no_zip_is_refused(place: Path) -> None:
    file = zipped(place / "a.zip", "a.png")
    for broken in (b"", b"PK", b"GIF89a", file.read_bytes()[:-30]):
        assert "not a zip archive" in archives.inspect(io.BytesIO(broken), BOUNDS)[0]


def test_a_damaged_member_is_named(place: Path) -> None:
    file = zipped(place / "a.zip", "a.png")
    content = bytearray(file.read_bytes())
    content[content.index(PIXELS) + 5] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(ArchiveError, match="” in the archive is damaged"):
        archives.unpack(file, place / "images", BOUNDS)
    assert files(place) == {"a.zip"}


def test_a_directory_that_lies_about_sizes_gives_no_more_than_it_says(place: Path) -> None:
    """A member of 19 MB that claims to have 100 bytes: it is damaged, and no more than that is written."""
    file = zipped(place / "a.zip", ("a.png", bytes(19 * 2**20)), method=zipfile.ZIP_DEFLATED)
    content = bytearray(file.read_bytes())
    struct.pack_into("<L", content, content.index(b"PK\x01\x02") + 24, 100)
    file.write_bytes(content)
    assert archives.inspect(file, BOUNDS) == []
    with pytest.raises(ArchiveError, match="damaged"):
        archives.unpack(file, place / "images", BOUNDS)
    assert files(place) == {"a.zip"}


def test_an_overlapping_bomb_is_judged_by_the_size_of_the_whole_file(place: Path) -> None:
    """Many names for the same packed bytes: each of them is harmless, all of them are not."""
    random = b"".join(bytes([n % 251, n % 7]) * 3 for n in range(100_000))
    file = zipped(place / "a.zip", ("0.png", random), method=zipfile.ZIP_DEFLATED)
    content = file.read_bytes()
    start = content.index(b"PK\x01\x02")
    entry = content[start : content.index(b"PK\x05\x06")]
    entries = b"".join(entry.replace(b"0.png", f"{chr(97 + n)}.png".encode()) for n in range(26))
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 26, 26, len(entries), start, 0)
    file.write_bytes(content[:start] + entries + end)
    problems = archives.inspect(file, BOUNDS.model_copy(update={"max_ratio": 200.0, "max_bytes": 2**40}))
    assert len(problems) == 1
    assert "The archive would grow" in problems[0]


def test_a_directory_without_end_is_not_taken_in(place: Path) -> None:
    """The end of a zip may claim a directory of any length, and `zipfile` would read it at once."""
    claimed = 64 * 2**20
    file = place / "a.zip"
    with file.open("wb") as opened:
        opened.truncate(claimed)
        opened.seek(claimed)
        opened.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, claimed, 0, 0))
    assert "far longer" in archives.inspect(file, BOUNDS)[0]


def test_several_manifests_are_refused_unless_one_is_above(place: Path) -> None:
    file = zipped(place / "a.zip", "a/manifest.csv", "b/manifest.csv")
    with pytest.raises(ArchiveError, match=r"a/manifest\.csv, b/manifest\.csv"):
        archives.unpack(file, place / "images", BOUNDS)
    archives.unpack(zipped(place / "b.zip", "manifest.csv", "b/manifest.csv"), place / "images", BOUNDS)
    assert files(place / "images") == {"manifest.csv", "b/manifest.csv"}


def test_what_is_unpacked_already_is_left_as_it_is(place: Path) -> None:
    file = zipped(place / "a.zip", "a.png")
    (place / "images").mkdir()
    (place / ".images.part").mkdir()  # of an attempt that was killed
    (place / ".images.part" / "half.png").write_bytes(b"")
    archives.unpack(file, place / "images", BOUNDS)
    assert files(place) == {"a.zip", "images/a.png"}
    file.unlink()
    archives.unpack(file, place / "images", BOUNDS)
