"""Which image files a command line means."""

from __future__ import annotations

import errno
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path

from PIL import Image

from piqa.errors import InputError
from piqa.preparation.image_formats import FIRST_BYTES, PHOTO_ENDINGS, format_of
from piqa.system.csv_cells import RUNS
from piqa.system.ownership import MARKER, folder_mark

# Formats of Pillow's that hold no photograph, or that it only passes on to another program.
NO_PHOTOS = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}
# Endings of files that are not opened to find out whether they are images: the companions of photographs.
OTHER_ENDINGS = frozenset(
    ".3gp .aac .aae .avi .bmpr .csv .db .doc .docx .gpx .htm .html .ini .jsonl .json .log .lrcat .lrdata .m4a .m4v .md "
    ".mkv .mov .mp3 .mp4 .mpeg .mpg .mts .parquet .pdf .pp3 .ppt .pptx .psb .py .safetensors .thm .tsv .txt .wav .webm "
    ".wmv .xlsx .xml .xmp .yaml .yml .zip".split()
)
# Folders in which systems and other programs keep thumbnails, copies and what was deleted, in lower case.
SERVICE_FOLDERS = {
    *("@eadir", "@__thumb", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx", "$recycle.bin"),
    *("system volume information", "ipod photo cache"),
}
SERVICE_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini"}
SERVICE = "hidden or of another program, such as thumbnails"
OWN = "of piqa's own results"
PHOTOS = {"demo dataset", "folder of picks"}  # folders of piqa's, by their markers, whose images are no results
LINK = "behind a broken link"
SPECIAL = "pipes or devices"
NO_ENDING = "without an ending"
KINDS_TOLD = 6  # kinds of left-out files that are told one by one
Tell = Callable[[str], None]


def expand(
    images: Sequence[str],
    listed: str | None = None,
    tell: Tell = warnings.warn,
    companions: frozenset[str] = frozenset(),
) -> list[str]:
    """Return the files that are meant: those named, and all images below each folder, in order of name.

    A file that is meant twice, or by two spellings of its path, comes once. A name that a spreadsheet would run, such
    as `=1.jpg`, is spelled `./=1.jpg`. In folders, a file is an image by its ending, or else by its first bytes. Hidden
    files and folders, and those that other programs keep their thumbnails in, are left out, as all that is no image; so
    are a folder that cannot be read, and one below a folder that piqa wrote results into, such as a report.

    Args:
        images: Images and folders.
        listed: Text file of more, one a line. They are not looked up here: one that is not there costs its row.
        tell: Takes a line on each folder that could not be read, and one on what was left out.
        companions: Endings, in lower case, of other files in folders that are meant as well.

    Raises:
        InputError: If something is not there, or a folder holds no image, or nothing is meant.
    """
    folders = _Folders(companions)
    files: dict[str, str] = {}  # by absolute path, in the first spelling
    named = (file for image in images for file in folders.meant_by(image))
    for file in chain(named, [] if listed is None else _lines(listed)):
        files.setdefault(os.path.abspath(file), _plain_name(file))  # noqa: PTH100 -- resolve() asks the disk about every file
    if not files and folders.faults:
        raise InputError(f"there is nothing to score; {folders.faults[0]}")
    if not files:
        raise InputError("there is nothing to score; name images, folders, or a text file that lists images (`--list`)")
    for fault in [*folders.faults, *folders.left_out_in_words()]:
        tell(fault)
    return list(files.values())


class _Folders:
    """Looks up what is in folders, and keeps account of what it leaves out."""

    def __init__(self, companions: frozenset[str] = frozenset()) -> None:
        self.faults: list[str] = []
        self._companions = companions
        self._left_out: Counter[str] = Counter()

    def meant_by(self, named: str) -> Iterator[str]:
        """Yield the files that a name on the command line means."""
        path = Path(named)
        try:
            path.lstat()
            is_folder = path.is_dir()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InputError(f"there is no file or folder {path}") from error
        except (OSError, ValueError):  # it costs its row, as a file of a list does
            is_folder = False
        if not is_folder:
            yield str(path)
            return
        before, empty = len(self.faults), True
        for file in self._below(str(path)):  # a folder that is named itself may be one of results
            empty = False
            yield file
        if empty and len(self.faults) == before:
            told = "".join(f"; {line}" for line in self.left_out_in_words())
            raise InputError(f"there is no image in the folder {path}{told}")

    def left_out_in_words(self) -> list[str]:
        """Return a line on the files that were left out, by kind, or none."""
        if not self._left_out:
            return []
        kinds = self._left_out.most_common()
        told = [f"{count} {kind}" for kind, count in kinds[:KINDS_TOLD]]
        if others := sum(count for _, count in kinds[KINDS_TOLD:]):
            told.append(f"{others} of other kinds")
        number = self._left_out.total()
        return [f"{number} file{' was' if number == 1 else 's were'} left out: {', '.join(told)}"]

    def _below(self, folder: str) -> Iterator[str]:
        """Yield the images below a folder, in order of name; links to folders are not followed."""
        open_folders = [self._inside(folder)]
        while open_folders:
            entry = next(open_folders[-1], None)
            if entry is None:
                open_folders.pop()
            elif _is_folder(entry):
                open_folders.append(self._inside(entry.path, named=False))
            elif (kind := _kind_left_out(entry, self._companions)) is None:
                yield str(Path(entry.path))
            elif kind:
                self._left_out[kind] += 1

    def _inside(self, folder: str, named: bool = True) -> Iterator[os.DirEntry[str]]:
        """Return what lies in a folder, by name, without what piqa and other programs keep there."""
        inside: list[os.DirEntry[str]] = []
        service = 0
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if not named and entry.name == MARKER and _is_of_results(folder):
                        self._left_out[OWN] += 1  # the portraits of a report, say, would be scored as photographs
                        return iter(())
                    if _is_service(entry.name):
                        service += 1
                    else:
                        inside.append(entry)
        except OSError as error:  # also in the middle, where a drive vanishes
            self.faults.append(
                f"the folder {folder} was left out: {error.strerror}; check its permissions and its disk"
            )
        if service:
            self._left_out[SERVICE] += service
        inside.sort(key=lambda entry: entry.name)
        return iter(inside)


def _is_of_results(folder: str) -> bool:
    mark = folder_mark(folder)
    return mark is not None and mark["what"] not in PHOTOS


def _is_service(name: str) -> bool:
    return name.startswith(".") or name.lower() in SERVICE_FOLDERS or name.lower() in SERVICE_FILES


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # it is looked at as a file then
        return False


def _kind_left_out(entry: os.DirEntry[str], companions: frozenset[str]) -> str | None:
    """Return what kind of file is left out, None for an image or a companion, '' for a link to a folder."""
    ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 -- a million times
    try:
        if not entry.is_file():
            if not entry.is_symlink():
                return SPECIAL
            return "" if entry.is_dir() else LINK
    except OSError as error:
        # What cannot be looked up for the moment may be an image: then its row says so.
        return LINK if error.errno == errno.ELOOP else None if ending in _photo_endings() else ending or NO_ENDING
    if ending in _photo_endings() or ending in companions:
        return None
    if ending not in OTHER_ENDINGS and _is_image_inside(entry.path):
        return None
    return ending or NO_ENDING


@cache
def _photo_endings() -> frozenset[str]:
    """Return the endings of images: those that Pillow reads, and of photographs that it does not."""
    Image.init()
    readable = {end for end, name in Image.registered_extensions().items() if name in Image.OPEN.keys() - NO_PHOTOS}
    return PHOTO_ENDINGS | readable


def _is_image_inside(path: str) -> bool:
    """Whether a file's first bytes are those of an image, whatever its name says."""
    try:
        with Path(path).open("rb") as file:
            return format_of(file.read(FIRST_BYTES), path) is not None
    except OSError:
        return False


def _plain_name(file: str) -> str:
    """Return a name that a spreadsheet takes for no formula: `=1.jpg`, say, is also `./=1.jpg`."""
    return f"./{file}" if file.startswith(RUNS) else file


def _lines(names: str) -> list[str]:
    from piqa.system.csv_text import read_text  # imports pandas, which a command without a list does not need

    lines = io.StringIO(read_text(names, errors="surrogateescape"), newline=None)  # a file's name may be any bytes
    return [name for line in lines if (name := line.rstrip("\n"))]
