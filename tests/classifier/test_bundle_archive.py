"""A bundle in one file: packed and unpacked to the last byte, and everything else refused with a sentence."""

import io
import json
import pickle  # noqa: TID251 (to be refused)
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from classifier import bundle
from classifier.__main__ import main
from classifier.bundle import Bundle, BundleError

WEIGHTS, METADATA = bundle.WEIGHTS_FILE, bundle.METADATA_FILE


@pytest.fixture
def members(tiny_bundle: Bundle) -> dict[str, bytes]:
    return {name: (tiny_bundle.folder / name).read_bytes() for name in (METADATA, WEIGHTS)}


def zipped(members: dict[str, bytes] | list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, data)
    file.seek(0)
    return file


def refused(file: Any, folder: Path, **options: Any) -> str:
    """The sentence; and nothing is left of the try."""
    with pytest.raises(BundleError) as raised:
        bundle.unpack(file, folder / "new", **options)
    assert list(folder.iterdir()) == []
    assert str(folder) not in str(raised.value)
    return str(raised.value)


def test_packing_is_deterministic_and_unpacks_to_the_same(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle.pack(tiny_bundle, tmp_path / "one.zip")
    memory = io.BytesIO()
    bundle.pack(tiny_bundle, memory)
    assert (tmp_path / "one.zip").read_bytes() == memory.getvalue()
    unpacked = bundle.unpack(tmp_path / "one.zip", tmp_path / "new")
    assert unpacked.sha256 == tiny_bundle.sha256
    assert {file.name: file.read_bytes() for file in unpacked.folder.iterdir()} == {
        file.name: file.read_bytes() for file in tiny_bundle.folder.iterdir()
    }
    assert {oct(file.stat().st_mode & 0o777) for file in unpacked.folder.iterdir()} == {"0o644"}
    assert bundle.unpack(tmp_path / "one.zip", tmp_path / "new") == unpacked  # once more is the same
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == [METADATA, WEIGHTS]


def test_a_folder_with_another_bundle_is_left_alone(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle.copy(Bundle.load(bundle.SHIPPED), tmp_path / "new")
    bundle.pack(tiny_bundle, tmp_path / "one.zip")
    with pytest.raises(BundleError, match="another bundle"):
        bundle.unpack(tmp_path / "one.zip", tmp_path / "new")
    assert Bundle.load(tmp_path / "new").metadata.name == "patchvote-40x"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_ordinary_zip_with_one_folder_is_taken(members: dict[str, bytes], tmp_path: Path, method: int) -> None:
    file = zipped({"tiny/": b"", **{f"tiny/{name}": data for name, data in members.items()}}, method)
    bundle.check(file)
    assert bundle.unpack(file, tmp_path / "new").metadata.name == "tiny"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"README.md": b"x"}, "nothing else"),
        ({"model.pt": b"x"}, "never unpickled"),
        ({"data.pkl": b"x"}, "never unpickled"),
        ({"pytorch_model.bin": b"x"}, "never unpickled"),
        ({"../model.safetensors": b"x"}, "holds the path"),
        ({"/etc/passwd": b"x"}, "holds the path"),
        ({"a/b/metadata.json": b"x"}, "holds the path"),
        ({"..\\metadata.json": b"x"}, "holds the path"),
        ({"tiny/metadata.json": b"x"}, "twice"),
        ({WEIGHTS: None}, "holds no model.safetensors"),
        ({METADATA: None}, "holds no metadata.json"),
        ({METADATA: None, "tiny/metadata.json": b"{}"}, "side by side"),
    ],
)
def test_other_contents_are_refused_by_the_names_alone(
    members: dict[str, bytes], tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    content = {name: data for name, data in {**members, **change}.items() if data is not None}
    file = zipped(content)
    assert sentence in refused(file, tmp_path)
    with pytest.raises(BundleError, match=sentence):
        bundle.check(file)


def test_a_file_twice_is_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        file = zipped([*members.items(), (METADATA, b"{}")])
    assert "twice" in refused(file, tmp_path)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (pickle.dumps({"weights": [1.0]}), "never unpickled"),
        (zipped({"archive/data.pkl": b"x"}).getvalue(), "never unpickled"),
        (b"", "never unpickled"),
        (b"\xff" * 100, "never unpickled"),
    ],
)
def test_a_pickle_named_safetensors_is_refused(
    members: dict[str, bytes], tmp_path: Path, weights: bytes, sentence: str
) -> None:
    assert sentence in refused(zipped({**members, WEIGHTS: weights}), tmp_path)


def test_changed_files_are_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    metadata = json.loads(members[METADATA])
    other = json.dumps({**metadata, "weights_sha256": "0" * 64}).encode()
    assert "not the ones" in refused(zipped({**members, METADATA: other}), tmp_path)
    broken = json.dumps({**metadata, "threshold": 7}).encode()
    assert "threshold" in refused(zipped({**members, METADATA: broken}), tmp_path)
    assert "not valid" in refused(zipped({**members, METADATA: b"{"}), tmp_path)
    assert "16 MB" in refused(zipped({**members, METADATA: b" " * (17 * 2**20)}), tmp_path)


def test_bounds_hold_for_what_really_comes_out(members: dict[str, bytes], tmp_path: Path) -> None:
    assert "2 MB" in refused(zipped(members), tmp_path, max_bytes=2 * 2**20)
    bomb = zipped({**members, WEIGHTS: b"\0" * (64 * 2**20)}, zipfile.ZIP_DEFLATED)
    assert len(bomb.getvalue()) < 2**20
    assert "50 times" in refused(bomb, tmp_path)


def test_a_zip_of_countless_names_is_refused_unread(tmp_path: Path) -> None:
    assert "far more" in refused(zipped({f"{number:040}": b"" for number in range(2000)}), tmp_path)


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04" + b"x" * 100, b"\x80\x04" + b"x" * 50])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    assert "not a zip" in refused(io.BytesIO(data), tmp_path)


def test_a_damaged_zip_is_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    data = bytearray(zipped(members).getvalue())
    data[len(data) // 2] ^= 1
    assert "damaged" in refused(io.BytesIO(data), tmp_path)
    assert "not a zip" in refused(io.BytesIO(data[: len(data) // 2]), tmp_path)


def test_an_encrypted_zip_is_refused(members: dict[str, bytes], tmp_path: Path) -> None:
    data = bytearray(zipped(members).getvalue())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    assert "password" in refused(io.BytesIO(data), tmp_path)


def test_the_command_takes_one_file(tiny_bundle: Bundle, tmp_path: Path, png: bytes) -> None:
    bundle.pack(tiny_bundle, tmp_path / "tiny.zip")
    (tmp_path / "image.png").write_bytes(png)
    arguments = [str(tmp_path / "image.png"), "--json", "--device", "cpu"]
    packed = CliRunner().invoke(main, ["--bundle", str(tmp_path / "tiny.zip"), *arguments])
    folder = CliRunner().invoke(main, ["--bundle", str(tiny_bundle.folder), *arguments])
    assert packed.exit_code == 0, packed.output
    assert packed.stdout == folder.stdout
    (tmp_path / "bad.zip").write_bytes(b"no")
    bad = CliRunner().invoke(main, ["--bundle", str(tmp_path / "bad.zip"), *arguments])
    assert (bad.exit_code, "not a zip" in bad.output) == (2, True)
