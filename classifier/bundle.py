"""A bundle: a folder with `model.safetensors` and `metadata.json`, all that a verdict needs.

The metadata holds the weights' SHA-256, and a bundle's own identity is the SHA-256 of its metadata file: two bundles
with the same identity are the same to the last byte.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from classifier.grid import PatchGrid
from classifier.normalisation import Normalisation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

WEIGHTS_FILE = "model.safetensors"
METADATA_FILE = "metadata.json"
INTENDED_USE = "Research use only, not a diagnosis."
SHIPPED = Path(__file__).parent / "bundles" / "patchvote-40x"
"""The bundle that comes with Patchvote."""


class BundleError(ValueError):
    """A bundle that cannot be used; the message says why."""


class BundleMetadata(BaseModel):
    """What a bundle says of itself.

    Attributes:
        name: Of the model; versions of one model share it.
        network: A key of `classifier.networks.NETWORKS`.
        classes: In the order of the logits; for this task benign, then malignant.
        grid: How images are cut.
        normalisation: Of the pixels.
        threshold: Share of malignant votes above which the verdict is malignant.
        members: Networks of the same kind whose logits are averaged.
        test_time_flips: Whether each patch's logits are averaged over its four mirrored variants.
        temperature: Divides an image's mean logit before it becomes a probability.
        magnifications: What the model was trained for, such as 40X.
        synthetic: True if any training image was synthetic: then no verdict of it means anything.
        metrics: Measured figures with the protocol that they were measured by.
        data: Of the training images: fingerprint, counts, citation.
        training: Seed, options, library versions, source and licence of pretrained weights.
        weights_sha256: Of `model.safetensors`, in hexadecimal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    network: str
    classes: tuple[Literal["benign"], Literal["malignant"]] = ("benign", "malignant")
    grid: PatchGrid = PatchGrid()
    normalisation: Normalisation
    threshold: float = Field(ge=0, lt=1)
    temperature: float = Field(default=1.0, gt=0)
    members: int = Field(default=1, ge=1, le=32)
    test_time_flips: bool = False
    magnifications: tuple[str, ...] = ("40X",)
    intended_use: str = INTENDED_USE
    synthetic: bool = False
    metrics: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    weights_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")

    @model_validator(mode="after")
    def _states_its_use(self) -> Self:
        if not self.intended_use.startswith("Research use only"):
            raise ValueError("intended_use must begin with 'Research use only'.")
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose hashes were checked.

    Attributes:
        folder: Where it lies.
        metadata: What it says of itself.
        sha256: Its identity.
    """

    folder: Path
    metadata: BundleMetadata
    sha256: str

    @classmethod
    def load(cls, folder: str | Path) -> Bundle:
        """Read and check a bundle.

        Raises:
            BundleError: If a file is missing, the metadata is not valid, or the weights are not those it names.
        """
        folder = Path(folder)
        try:
            raw = (folder / METADATA_FILE).read_bytes()
            weights_sha256 = _file_hash(folder / WEIGHTS_FILE)
        except OSError as error:
            raise BundleError(f"{folder} is not a bundle: {error.strerror}: {error.filename}.") from error
        try:
            metadata = BundleMetadata.model_validate_json(raw)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise BundleError(f"The metadata of {folder} is not valid: {problems}") from error
        if metadata.weights_sha256 != weights_sha256:
            raise BundleError(f"The weights in {folder} are not those that its metadata names.")
        return cls(folder, metadata, hashlib.sha256(raw).hexdigest())

    def module(self) -> nn.Module:
        """The network with its weights, on the CPU, in evaluation mode.

        Raises:
            BundleError: If the network is unknown or the weights do not fit it.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from classifier import networks

        try:
            module = networks.ensemble(
                networks.create(self.metadata.network, classes=len(self.metadata.classes))
                for _ in range(self.metadata.members)
            )
            module.load_state_dict(load_file(self.folder / WEIGHTS_FILE))
        except (KeyError, RuntimeError, SafetensorError) as error:
            raise BundleError(f"The weights in {self.folder} do not fit: {error}") from error
        return module


def save(folder: str | Path, state: Mapping[str, Tensor], metadata: BundleMetadata) -> Bundle:
    """Write a bundle: complete or not at all.

    Args:
        folder: Where it shall lie; must not exist yet.
        state: The network's `state_dict()`.
        metadata: `weights_sha256` is filled in here.

    Raises:
        BundleError: If the folder exists.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    if folder.exists():
        raise BundleError(f"{folder} exists already. Bundles never change: choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        save_file(tensors, draft / WEIGHTS_FILE)
        metadata = metadata.model_copy(update={"weights_sha256": _file_hash(draft / WEIGHTS_FILE)})
        (draft / METADATA_FILE).write_text(metadata.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for file in draft.iterdir():
            file.chmod(0o644)
        draft.chmod(0o755)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return Bundle.load(folder)


def copy(bundle: Bundle, folder: Path) -> Bundle:
    """Copy a bundle to a folder that may exist already with the same bundle; complete or not at all."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".bundle-", dir=folder.parent) as scratch:
            draft = Path(scratch) / "bundle"
            draft.mkdir()
            for name in (WEIGHTS_FILE, METADATA_FILE):
                shutil.copyfile(bundle.folder / name, draft / name)
            try:
                draft.rename(folder)
            except OSError:
                if not folder.exists():  # else another process was faster, with the same content
                    raise
    copied = Bundle.load(folder)
    if copied.sha256 != bundle.sha256:
        raise BundleError(f"{folder} holds another bundle.")
    return copied


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
