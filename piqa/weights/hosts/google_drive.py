"""Files on Google Drive, fetched by gdown, which knows the pages that Google puts before large files."""

from __future__ import annotations

from pathlib import Path

from piqa.weights.hosts.refusal import READ_SECONDS, HostRefusal, Progress, refusal_of

HOST = "Google Drive"
ADDRESS = "https://drive.google.com"
RETRIES = 3
COOKIES = Path("~/.cache/gdown/cookies.txt")  # a signed-in session that the user has put there for gdown
QUOTA = ("too many users", "quota")  # how Google's page says it
BY_HAND = "signed in to Google, a copy in one's own Drive can be fetched (Add shortcut or Make a copy, then Download)"


def download(identifier: str, target: Path, report: Progress) -> None:
    """Fetch a file by its id; what an earlier try has brought is gone on with. Arguments and errors as of `plain_http`.

    Raises:
        HostRefusal: If it is not to be had, as for a day after too many people have fetched it.
        OSError: If it cannot be written.
    """
    import gdown
    import requests
    from gdown.exceptions import DownloadError, FileURLRetrievalError

    try:
        gdown.download(
            id=identifier,
            output=str(target),
            quiet=True,
            resume=True,
            use_cookies=COOKIES.expanduser().is_file(),
            timeout=(READ_SECONDS, READ_SECONDS),
            retries=RETRIES,
            progress=report,
        )
    except FileURLRetrievalError as error:
        raise _of_page(str(error)) from error
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 500
        raise refusal_of(status, HOST) from error
    except (DownloadError, requests.RequestException) as error:
        if "byte range" in str(error):  # Google would not go on with what is there: from the start, next time
            for part in target.parent.glob(f"{target.name}*.part"):
                part.unlink(missing_ok=True)
        raise HostRefusal(f"{HOST} cuts the connection off; the same command goes on with what came", True) from error
    except (KeyError, AssertionError) as error:  # of a page that gdown does not know
        raise HostRefusal(f"{HOST} answers with a page that gdown does not know; is gdown up to date?") from error


def _of_page(text: str) -> HostRefusal:
    """Return what a page of Google's says that is shown in place of the file."""
    words = " ".join(text.split()).lower()
    if any(word in words for word in QUOTA):
        quota = "gives it to nobody for up to 24 hours, as too many people have fetched it (its quota)"
        return HostRefusal(f"{HOST} {quota}; {BY_HAND}", passing=True)
    shared = "does not hand it out: it is no longer shared, or too many people have fetched it"
    return HostRefusal(f"{HOST} {shared}; {BY_HAND}")
