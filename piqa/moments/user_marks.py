"""What the user has said of a picture before: stars, label and pick, in its sidecar or within the picture."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from piqa.moments.xmp_packet import Packet, Property, read_packet

XMP, DIGIKAM = "http://ns.adobe.com/xap/1.0/", "http://www.digikam.org/ns/1.0/"
RATING, LABEL, PICK_LABEL = (XMP, "Rating"), (XMP, "Label"), (DIGIKAM, "PickLabel")
REJECTED, ACCEPTED = "1", "3"  # values of PickLabel
EXIF_RATING = 18246  # Rating of Windows


@dataclass(frozen=True)
class UserMarks:
    """Marks of the user; what the sidecar says goes before what stands within the picture.

    Attributes:
        stars: -1 (rejected) or 0 to 5; 5 where a rating is no number, so that it stays.
        label: Such as `Red`; "" for none.
        pick_label: As of digiKam; "0" for none.
    """

    stars: float
    label: str
    pick_label: str

    @property
    def rejects(self) -> bool:
        """Whether the user has rejected the picture."""
        return self.stars < 0 or self.pick_label == REJECTED

    @property
    def likes(self) -> bool:
        """Whether the user has given it stars or accepted it."""
        return self.stars > 0 or self.pick_label == ACCEPTED


def user_marks(packet: Packet, picture: Path) -> UserMarks:
    """Return the marks in a sidecar without ours, and else those within the picture, as far as it can be read."""
    within, windows = _within(picture) if any(packet.value(name) is None for name in (RATING, LABEL)) else (None, 0)

    def value(name: Property) -> str | None:
        found = packet.value(name)
        return within.value(name) if found is None and within is not None else found

    stars = value(RATING)
    return UserMarks(float(windows) if stars is None else _number(stars), value(LABEL) or "", value(PICK_LABEL) or "0")


def _within(picture: Path) -> tuple[Packet | None, int]:
    """Return the packet within a picture, and the stars of Windows in its EXIF."""
    packet, stars = None, 0
    with suppress(Exception), Image.open(picture) as image:  # damaged files fail in many ways; they have no marks
        stars = int(image.getexif().get(EXIF_RATING) or 0)
        content = image.info.get("xmp") or b""
        packet = read_packet((content.encode() if isinstance(content, str) else content).rstrip(b"\0"))
    return packet, stars


def _number(text: str) -> float:
    try:
        value = float(text or 0)
    except ValueError:
        return 5.0
    return value if value == value else 5.0
