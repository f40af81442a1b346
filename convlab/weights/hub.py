"""Models by their id on the Hugging Face hub: `owner/name`, fetched by the hub's own client into its own cache.

The client's settings hold: `HF_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`, tokens. A model that is whole in the
cache is taken from there, with or without a network. Otherwise its config is fetched and judged first, so that no weights are fetched of a
network that is no MobileNet.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .safetensors import shards

PROCESSOR = "preprocessor_config.json"
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
"""Names of the weights beside a config; the safe form first."""

ALONE = (".safetensors", ".keras", ".h5", ".onnx", ".tflite", ".npz")
"""Endings of files that need no config."""


def is_id(name: object) -> bool:
    """Whether a name has the form of a hub's id: two words of letters, digits, dots, dashes and lines, with a slash between."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", name) is not None


def fetch(name: str, judge: Callable[[Path], object]) -> Path:
    """Return the directory, in the client's cache, that holds a repository's config and weights; or the file that needs no config.

    Parameters
    ----------
    name : str
        ``owner/name``.
    judge : callable
        Given the directory once its config is there; raises if it describes no network that is read here.

    Raises
    ------
    FileNotFoundError
        If the hub has no such model, or cannot be reached and the cache has none.
    ModuleNotFoundError
        If huggingface_hub is not installed.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ModuleNotFoundError:
        needed = 'a model of the hub needs huggingface_hub: pip install "convlab-engine[formats]"'
        raise ModuleNotFoundError(f"no such path: {name!r}; {needed}") from None
    with _quietly(huggingface_hub):
        try:
            return _cached(huggingface_hub, name) or _downloaded(huggingface_hub, name, judge)
        except errors.LocalEntryNotFoundError:
            raise FileNotFoundError(f"no such path: {name!r}; nor is it in the hub's cache, and the hub cannot be reached") from None
        except errors.GatedRepoError:
            raise FileNotFoundError(f"no such path: {name!r}; and the hub keeps it for those whom it knows") from None
        except errors.RepositoryNotFoundError:
            raise FileNotFoundError(f"no such path: {name!r}; and the hub has no model of this name for all") from None
        except errors.HfHubHTTPError as error:
            raise FileNotFoundError(f"no such path: {name!r}; and the hub does not give it: {str(error).strip().splitlines()[0]}") from None


@contextlib.contextmanager
def _quietly(client: Any) -> Iterator[None]:
    """Let the client say nothing of its attempts: what came of them is said here."""
    before = client.logging.get_verbosity()
    client.logging.set_verbosity_error()
    try:
        yield
    finally:
        client.logging.set_verbosity(before)


def _cached(client: Any, name: str) -> Path | None:
    """Return the directory of what the cache has, if that is all there is."""

    def cached(file: str) -> Path | None:
        found = client.try_to_load_from_cache(name, file)
        return Path(found) if isinstance(found, str) else None

    config, prepared = cached("config.json"), client.try_to_load_from_cache(name, PROCESSOR)
    weights = next(filter(None, map(cached, WEIGHTS)), None)
    if config is None or weights is None or prepared is None:  # what the hub is known not to have is not None
        return None
    whole = all(map(cached, shards(weights).values())) if weights.name.endswith(".index.json") else True
    return weights.parent if whole else None


def _downloaded(client: Any, name: str, judge: Callable[[Path], object]) -> Path:
    def download(file: str) -> Path | None:
        """Return a file of the repository; None if it has none of this name."""
        try:
            return Path(client.hf_hub_download(name, file))
        except client.errors.LocalEntryNotFoundError:
            raise
        except client.errors.EntryNotFoundError:
            return None

    config = download("config.json")
    if config is None:
        return _alone(name, client.list_repo_files(name), download)
    judge(config.parent)
    download(PROCESSOR)
    weights = next(filter(None, map(download, WEIGHTS)), None)
    if weights is None:
        raise FileNotFoundError(f"{name!r} on the hub has no weights beside its config: one of {', '.join(WEIGHTS)}")
    if weights.name.endswith(".index.json"):
        for shard in sorted(set(shards(weights).values())):
            download(shard)
    return weights.parent


def _alone(name: str, held: list[str], download: Callable[[str], Path | None]) -> Path:
    """Return the one file of a repository that holds a model without a config."""
    for ending in ALONE:
        found = [file for file in held if file.endswith(ending) and "/" not in file]
        if len(found) == 1 and (path := download(found[0])) is not None:
            return path
    raise FileNotFoundError(f"{name!r} on the hub has no config.json, and no single file of one of the kinds {', '.join(ALONE)}")
