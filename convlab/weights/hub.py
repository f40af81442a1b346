"""Models by their id on the Hugging Face hub: `owner/name`, fetched by the hub's own client into its own cache.

The client's settings hold: `HF_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`, tokens. What is in the cache needs no network. A repository's
config is fetched and judged first, so that no weights are fetched of a network that is no MobileNet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

CONFIGS = ["config.json", "preprocessor_config.json"]
WEIGHTS = (["*.safetensors", "model.safetensors.index.json"], ["pytorch_model.bin"])
"""Patterns of the weights beside a config; the safe form first."""

ALONE = (["*.safetensors"], ["*.keras", "*.h5"], ["*.onnx"], ["*.tflite"], ["*.npz"])
"""Patterns of files that need no config."""


def is_id(name: object) -> bool:
    """Whether a name has the form of a hub's id: two words of letters, digits, dots, dashes and lines, with a slash between."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", name) is not None


def fetch(name: str, judge: Callable[[Path], object]) -> Path:
    """Return the directory, in the client's cache, that holds a repository's config and weights.

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

    def snapshot(patterns: list[str]) -> Path:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))

    try:
        folder = snapshot(CONFIGS)
        configured = (folder / "config.json").is_file()
        if configured:
            judge(folder)
        for patterns in WEIGHTS if configured else ALONE:
            folder = snapshot(patterns)
            if any(path.match(pattern) for pattern in patterns for path in folder.iterdir()):
                return folder
    except errors.LocalEntryNotFoundError:
        raise FileNotFoundError(f"no such path: {name!r}; nor is it in the hub's cache, and the hub cannot be reached") from None
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        closed = "keeps it for those whom it knows" if isinstance(error, errors.GatedRepoError) else "has no model of this name for all"
        raise FileNotFoundError(f"no such path: {name!r}; and the hub {closed}") from None
    except (errors.HfHubHTTPError, OSError) as error:
        if isinstance(error, FileNotFoundError) and not isinstance(error, errors.HfHubHTTPError):
            raise
        said = str(error).strip().splitlines()
        raise FileNotFoundError(
            f"no such path: {name!r}; and the hub does not give it: {said[0] if said else type(error).__name__}"
        ) from None
    raise FileNotFoundError(f"{name!r} on the hub has no file that holds weights of a kind that is read here")
