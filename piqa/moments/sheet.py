"""The contact sheet: one page with all moments, on which a person looks at the picks and corrects them.

    sheet.html  the page
    sheet/      its thumbnails and previews, and which page was written

The page opens without network and goes on working where both are moved together. What a person changes stays in the
browser, and leaves it as `choices.csv` (`file,moment,pick`), which `piqa.pick --from` reads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from piqa.errors import InputError
from piqa.moments.pick import PickedMoment, RankedShot
from piqa.moments.sheet_images import FOLDER, SheetImages, Shown
from piqa.moments.sheet_words import percentile_words, probability_words, rank_words, scores_words, verdict_words
from piqa.system.files import digest_of, regular_target, replacing
from piqa.system.json_text import write_json
from piqa.web.page import render_page
from piqa.web.text import printable

PAGE = "sheet.html"
WRITTEN = "written.json"  # digests of the page as it was written


@dataclass(frozen=True)
class _Shot:
    """A shot as the page shows it."""

    ranked: RankedShot
    name: str
    thumbnail: Shown | None
    words: tuple[str, ...]

    @property
    def title(self) -> str:
        return printable(self.name.rpartition("/")[2])

    @property
    def label(self) -> str:
        return ", ".join([self.title, *self.words[:1]])


@dataclass(frozen=True)
class _Moment:
    """A moment as the page shows it."""

    picked: PickedMoment
    shots: Sequence[_Shot]

    @property
    def name(self) -> str:
        return self.picked.moment.name

    @property
    def folder(self) -> str:
        return printable(self.shots[0].name.rpartition("/")[0]) if self.shots else ""

    @property
    def verdict(self) -> str:
        return verdict_words(self.picked)

    @property
    def scores(self) -> str:
        return scores_words(self.picked)


def write_sheet(
    picked: Iterable[PickedMoment],
    folder: str | Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    name_of: Callable[[str], str] = str,
    path_of: Callable[[str], Path] = Path,
    preview_size: int = 1600,
    quiet: bool = False,
) -> Path:
    """Write the contact sheet of some moments; images that were written before are not made again.

    Args:
        picked: The moments, in the order of the page; asked for once, so that their thumbnails need not be in memory.
        folder: Where `sheet.html` and `sheet/` go.
        title: Such as the name of the folder of images.
        notes: Sentences on how the picks were made, for below the title.
        name_of: Returns what a file is called in the page and in `choices.csv`, with slashes and without the places of
            this machine; by default as in the shot.
        path_of: Returns where a file lies.
        preview_size: The longer side of previews in pixels, which are made of shots in moments of several; 0 for none.
        quiet: Whether no progress is shown.

    Returns:
        The page's path.

    Raises:
        InputError: If there is no moment, or a file would be replaced that is not piqa's, or cannot be written.
    """
    folder = Path(folder)
    images = SheetImages(folder, preview_size)
    with _replacing_own(folder / PAGE) as page:
        moments = [_moment(one, images, name_of) for one in picked]
        if not moments:
            raise InputError("there is no moment for a contact sheet; name a folder with images")
        several = [shot for moment in moments if len(moment.shots) > 1 for shot in moment.shots]
        previews = images.previews({shot.name: path_of(shot.ranked.shot.file) for shot in several}, quiet)
        html = render_page(
            "moments/sheet.html",
            title=printable(title),
            notes=[*map(printable, notes)],
            moments=moments,
            folders=sorted({moment.folder for moment in moments}),
            sheet=_in_script(moments, previews),
        )
        page.write_text(html, encoding="utf-8", errors="replace", newline="\n")
    images.remove_others()
    return folder / PAGE


def _moment(picked: PickedMoment, images: SheetImages, name_of: Callable[[str], str]) -> _Moment:
    of = len(picked.ranked)
    shots = [
        _Shot(
            shot,
            name_of(shot.shot.file),
            images.thumbnail(shot.thumbnail),
            tuple(filter(None, [rank_words(shot, of), probability_words(shot), percentile_words(shot)])),
        )
        for shot in picked.ranked
    ]
    return _Moment(picked, shots)


def _in_script(moments: Sequence[_Moment], previews: Mapping[str, Shown]) -> dict[str, object]:
    """Return what the page's script knows: its moments, and an id under which the browser keeps what is changed."""
    content: list[object] = []
    for moment in moments:
        shots = []
        for shot in moment.shots:
            shown = previews.get(shot.name) or shot.thumbnail
            size = None if shown is None else [shown.src, shown.width, shown.height]
            shots.append([shot.name, int(shot.ranked.pick), size])
        content.append({"name": moment.name, "close": moment.picked.close, "shots": shots})
    return {"id": hashlib.blake2b(json.dumps(content).encode(), digest_size=8).hexdigest(), "moments": content}


@contextmanager
def _replacing_own(page: Path) -> Iterator[Path]:
    """Yield a temporary file that becomes the page; raise InputError where the one that is there is not piqa's."""
    regular_target(page)
    record = page.parent / FOLDER / WRITTEN
    try:
        known = json.loads(record.read_text(encoding="utf-8"))["pages"]
    except (OSError, ValueError, TypeError, KeyError):
        known = []
    if page.exists() and page.stat().st_size and digest_of(page) not in known:
        raise InputError(f"{page} was not written by piqa, or was changed since; name another `--out`, or move it away")
    with replacing(page) as temporary:
        yield temporary
        write_json({"pages": [*known[-1:], digest_of(temporary)]}, record)  # after a kill, either may be there
