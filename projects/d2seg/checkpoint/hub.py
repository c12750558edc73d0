"""Weights in a repository of Hugging Face, through the package huggingface_hub."""

import os
from collections.abc import Sequence

from .download import DownloadError

HUB = "hf://"
INSTALL = "pip install huggingface_hub"


def fetch_from_hub(address: str, names: Sequence[str]) -> str:
    """Fetch the weights of a repository unless they are there already, which costs no request.

    Downloads are resumed and lie in huggingface_hub's cache (HF_HOME).

    Args:
        address: "hf://owner/name", "hf://owner/name@revision".
        names: of files, the most wanted first.

    Returns:
        The path of the first of ``names`` that there is; the shards of an index lie beside it.

    Raises:
        ValueError: the address is not written so.
        ImportError: huggingface_hub is missing.
        DownloadError: the repository cannot be reached, or has none of the files.
    """
    repository, _, revision = address.removeprefix(HUB).partition("@")
    if len(repository.split("/")) != 2 or not all(repository.split("/")):
        raise ValueError(f"'{address}' names no repository; write hf://owner/name")
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise ImportError(f"{address} needs the package huggingface_hub: {INSTALL}") from error
    revision = revision or "main"
    for name in names:
        cached = hub.try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(cached, str) and _is_whole(cached):
            return cached
    options = {"revision": revision, "endpoint": os.environ.get("HF_ENDPOINT")}  # a mirror
    try:
        files = hub.HfApi(endpoint=options["endpoint"]).list_repo_files(
            repository, revision=revision
        )
        found = [name for name in names if name in files]
        if not found:
            raise DownloadError(f"{address} has none of {', '.join(names)}")
        patterns = [found[0]]
        if found[0].endswith(".index.json"):
            patterns.append(found[0].partition(".")[0] + "-*")  # its shards
        folder = hub.snapshot_download(repository, allow_patterns=patterns, **options)
    except DownloadError:
        raise
    except Exception as error:  # httpx's, requests' and its own
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DownloadError(
            f"cannot fetch the checkpoint {address}: {reason}; fetch "
            f"{names[0]} by hand from https://huggingface.co/{repository} and give its path"
        ) from error
    return os.path.join(folder, found[0])


def _is_whole(path: str) -> bool:
    """An index counts only with its shards, which a broken download may not have left."""
    return os.path.isfile(path) and not path.endswith(".index.json")
