"""Files on the Hugging Face Hub, by its own library: its cache, mirrors (`HF_ENDPOINT`) and tokens are honoured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from piqa.weights.hosts.refusal import HostRefusal, check_reachable, refusal_of

HOST = "the Hugging Face Hub"
TRIES = 3
TOKEN = "a token is set by `HF_TOKEN` or `hf auth login`"


@dataclass(frozen=True)
class HubFile:
    """A file in the Hub's cache: its commit, and its sha256 where the Hub states it (of large files)."""

    path: Path
    revision: str
    sha256: str | None


def address() -> str:
    """Return the address of the Hub, or of the mirror that `HF_ENDPOINT` names."""
    from huggingface_hub import constants

    return constants.ENDPOINT


@contextmanager
def asked_if_reachable() -> Iterator[None]:
    """Let other libraries, which fetch by the Hub's own, take what is in its cache alone where it cannot be reached.

    They would try for a minute, and tell of each try.
    """
    from huggingface_hub import constants

    former = constants.HF_HUB_OFFLINE
    try:
        check_reachable(address())
    except HostRefusal:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = former


def cached(repo: str, file: str, revision: str | None) -> Path | None:
    """Return a file of a repository if it lies in the cache; nothing is asked of the Hub."""
    from huggingface_hub import constants, try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, cache_dir=constants.HF_HUB_CACHE, revision=revision or "main")
    return Path(found) if isinstance(found, str) else None


def download(repo: str, file: str, revision: str | None) -> HubFile:
    """Fetch a file of a repository, at a commit, a branch or a tag; `main` by default.

    Raises:
        HostRefusal: If it is not to be had, or not in full.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    wanted = revision or "main"
    try:
        # One try, where `hf_hub_download` alone would make many; and it names the commit, and the hash of a large file.
        facts = get_hf_file_metadata(hf_hub_url(repo, file, revision=wanted), timeout=10)
        if facts.commit_hash is None:
            raise HostRefusal(f"{constants.ENDPOINT} does not answer as the Hub does; is HF_ENDPOINT right?")
        # By the branch, whose commit is noted in the cache then.
        path = _going_on(lambda: Path(hf_hub_download(repo, file, revision=wanted)))
    except HostRefusal:
        raise
    except Exception as error:  # errors of the Hub's library, of its HTTP library, of the system
        raise _refusal(error) from error
    etag = facts.etag or ""
    return HubFile(path, facts.commit_hash, etag if len(etag) == 64 else None)


def publish(repo: str, files: Mapping[str, Path | bytes], *, private: bool, overwrite: bool) -> str:
    """Write files into a repository in one commit; return the address of its page.

    Args:
        repo: `owner/name`.
        files: By their names in the repository.
        private: Whether only its owner may see a new repository.
        overwrite: Whether it may be there already; else it is made.

    Raises:
        HostRefusal: If the Hub does not take them, or knows no token.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if get_token() is None:
        raise HostRefusal(f"{HOST} takes files with a token alone; {TOKEN}")
    api = HfApi(endpoint=address())
    try:
        page = str(api.create_repo(repo, private=private, exist_ok=overwrite))
        parts = [CommitOperationAdd(name, content) for name, content in files.items()]
        api.create_commit(repo, parts, commit_message="Publish a model of piqa's")
    except Exception as error:  # as in `download`
        raise _refusal_to_write(repo, error) from error
    return page


def _refusal_to_write(repo: str, error: Exception) -> Exception:
    """Return what an error of the Hub's library means where something is published."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return HostRefusal(f"{HOST} does not know the token (HTTP 401), or not any more; {TOKEN}")
    if status == 403:
        owner = repo.partition("/")[0]
        return HostRefusal(f"the token may not write to repositories of {owner} (HTTP 403); give one that may")
    if status == 409:
        return HostRefusal("the repository is there already (HTTP 409); `--overwrite true` adds a new version to it")
    if status == 404:
        return HostRefusal(f"{HOST} has no such owner, or the token may not see it (HTTP 404)")
    return _refusal(error)


def _going_on(fetch: Callable[[], Path]) -> Path:
    """Return what is fetched; before 1.0 the Hub's library does not go on by itself where a connection is cut off."""
    import requests

    for _ in range(TRIES - 1):
        with suppress(requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError):
            return fetch()
    return fetch()


def _refusal(error: Exception) -> Exception:
    """Return what an error of the Hub's library means; an error of the disk as it is."""
    from huggingface_hub import errors

    name = type(error).__name__
    if isinstance(error, errors.GatedRepoError):
        return HostRefusal(f"{HOST} gives it to those alone who have accepted its terms; {TOKEN}")
    if isinstance(error, errors.RevisionNotFoundError):
        return HostRefusal(f"{HOST} has the repository, but not this revision of it")
    if isinstance(error, errors.RepositoryNotFoundError):
        return HostRefusal(f"{HOST} has no such repository, or not for everybody; {TOKEN}")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return HostRefusal(f"{HOST} has the repository, but not this file in it")
    response = getattr(error, "response", None)
    if response is not None and hasattr(response, "status_code") and response.status_code >= 400:
        refusal = refusal_of(response.status_code, HOST, response.headers.get("Retry-After"))
        return HostRefusal(f"{refusal.reason}; {TOKEN}") if response.status_code in (401, 403) else refusal
    if "Consistency check failed" in str(error):
        return HostRefusal(f"{HOST} sends another number of bytes than it says; try again", passing=True)
    if isinstance(error, OSError) and error.errno is not None and type(error).__module__ == "builtins":
        return error
    if "Metadata" in name:
        return HostRefusal(f"{HOST} does not answer as it should; is HF_ENDPOINT right, or a proxy in the way?")
    return HostRefusal(f"the connection to {HOST} breaks off ({name}); try again", passing=True)
