"""What files say of how they were taken: hand-made tags against what is read."""

import io
import struct
import time
from datetime import datetime, timedelta, timezone

import pytest
from PIL import ExifTags, Image

from piqa.errors import FileAccessError, InputError
from piqa.moments.capture_facts import CaptureFacts, exposure_value, read_capture_facts
from piqa.moments.metadata import MAX_READ
from piqa.preparation.image_formats import RAW

BASE = ExifTags.Base
NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc).timestamp()


def write(path, shot=None, first=None, size=(16, 16), **saving):
    """Write an image with these tags; the format is the suffix's. Returns its path as text."""
    exif = Image.Exif()
    exif.update(first or {})
    exif.get_ifd(ExifTags.IFD.Exif).update(shot or {})
    Image.new("RGB", size, "grey").save(path, exif=exif, **saving)
    return str(path)


def at(path, text="2024:05:01 12:00:00", **more):
    """The facts of a file with this time and other tags, by their names."""
    return read_capture_facts(write(path, {BASE.DateTimeOriginal: text} | {BASE[name]: more[name] for name in more}))


@pytest.mark.parametrize(
    ("decimals", "fraction"),
    [("05", 0.05), ("5", 0.5), ("500", 0.5), ("501", 0.501), ("123456", 0.123456), (" 7 ", 0.7)],
)
def test_subseconds_are_decimals(tmp_path, decimals, fraction):
    facts = at(tmp_path / "a.jpg", SubsecTimeOriginal=decimals)
    assert facts.seconds == pytest.approx(NOON + fraction, abs=1e-6)
    assert facts.subseconds


@pytest.mark.parametrize("decimals", [None, "", "    ", "abc", "-5", "²"])
def test_a_time_without_readable_subseconds_is_of_whole_seconds(tmp_path, decimals):
    facts = at(tmp_path / "a.jpg", **({} if decimals is None else {"SubsecTimeOriginal": decimals}))
    assert (facts.seconds, facts.subseconds) == (NOON, False)


@pytest.mark.parametrize(
    ("text", "minutes"), [("+02:00", 120), ("-09:30", -570), ("Z", 0), ("+00:00", 0), ("", None), ("summer", None)]
)
def test_offsets_are_minutes_ahead_of_utc(tmp_path, text, minutes):
    assert at(tmp_path / "a.jpg", OffsetTimeOriginal=text).offset == minutes


def test_the_clock_is_local_whatever_the_offset(tmp_path):
    assert at(tmp_path / "a.jpg", OffsetTimeOriginal="+09:00").seconds == NOON


@pytest.mark.parametrize(
    "text",
    [
        *("1970:01:01 00:00:05", "2000:01:01 00:13:00", "1980:01:01 00:00:00", "0000:00:00 00:00:00"),
        *("2024:02:30 10:00:00", "    :  :     :  :  ", "yesterday", "2024:05:01"),
        "next year",
    ],
)
def test_a_clock_that_was_never_set_tells_no_time(tmp_path, text):
    if text == "next year":
        text = (datetime.now(timezone.utc) + timedelta(days=400)).strftime("%Y:%m:%d %H:%M:%S")
    facts = at(tmp_path / "a.jpg", text, SubsecTimeOriginal="5")
    assert (facts.seconds, facts.subseconds) == (None, False)


def test_a_clock_a_few_hours_ahead_is_a_time(tmp_path):
    ahead = datetime.fromtimestamp(time.time() + 10 * 3600, timezone.utc).strftime("%Y:%m:%d %H:%M:%S")
    assert at(tmp_path / "a.jpg", ahead).seconds is not None


def test_exposure_value_against_a_calculation_by_hand(tmp_path):
    shot = {BASE.ExposureTime: 1 / 64, BASE.FNumber: 4.0, BASE.ISOSpeedRatings: 400, BASE.ExposureBiasValue: -0.5}
    facts = read_capture_facts(write(tmp_path / "a.jpg", shot))
    assert facts.ev == pytest.approx(4 + 6 - 2)  # log2(16 * 64) - log2(4)
    assert (facts.bias, facts.exposure) == (-0.5, 1 / 64)


@pytest.mark.parametrize("missing", [BASE.ExposureTime, BASE.FNumber, BASE.ISOSpeedRatings])
def test_no_exposure_value_unless_all_three_are_known(tmp_path, missing):
    shot = {BASE.ExposureTime: 1 / 64, BASE.FNumber: 4.0, BASE.ISOSpeedRatings: 400}
    del shot[missing]
    assert read_capture_facts(write(tmp_path / "a.jpg", shot)).ev is None
    assert exposure_value(None, 2.0, 100) is None


def test_the_camera_is_maker_model_and_serial_number(tmp_path):
    first = {BASE.Make: "Maker\0 ", BASE.Model: "Model\n1", BASE.Artist: "Somebody", BASE.Copyright: "Somebody"}
    facts = read_capture_facts(write(tmp_path / "a.jpg", {BASE.BodySerialNumber: "42"}, first))
    assert facts == CaptureFacts(camera="Maker Model 1 42")
    assert read_capture_facts(write(tmp_path / "b.jpg")).camera is None


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "avif", "dng"])
def test_every_kind_of_file_tells_the_same(tmp_path, ending):
    shot = {BASE.DateTimeOriginal: "2024:05:01 12:00:00", BASE.SubsecTimeOriginal: "25", BASE.FNumber: 2.0}
    path = tmp_path / f"a.{ending}"
    if ending == "dng":
        write(tmp_path / "a.jpg", shot, {BASE.Make: "One"})
        path.write_bytes((tmp_path / "a.jpg").read_bytes().split(b"Exif\0\0")[1])
        assert f".{ending}" in RAW
    else:
        write(path, shot, {BASE.Make: "One"})
    assert read_capture_facts(str(path)) == CaptureFacts(NOON + 0.25, True, camera="One")


def test_heic_tells_the_same(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[BASE.DateTimeOriginal] = "2024:05:01 12:00:00"
    heif.from_pillow(Image.new("RGB", (64, 64))).save(tmp_path / "a.heic", exif=exif.tobytes())
    assert read_capture_facts(str(tmp_path / "a.heic")).seconds == NOON


def directory(entries, order=">", start=0, following=b""):
    """A directory of tags (number, type, values, bytes); long values follow it, at places counted from `start`."""
    head, tail = struct.pack(f"{order}H", len(entries)), b""
    place = start + 2 + 12 * len(entries) + 4
    for number, kind, count, content in entries:
        if len(content) > 4:
            content, tail = struct.pack(f"{order}I", place + len(tail)), tail + content
        head += struct.pack(f"{order}HHI", number, kind, count) + content.ljust(4, b"\0")
    return head + bytes(4) + tail + following


def test_apples_burst_and_content_are_read_from_its_notes(tmp_path):
    burst, content = b"9A1B2C3D-0000-1111-2222-333344445555\0", b"00000000-AAAA-BBBB-CCCC-DDDDEEEEFFFF\0"
    entries = [(0x000B, 2, len(burst), burst), (0x0011, 2, len(content), content)]
    note = b"Apple iOS\0\0\1MM" + directory(entries, start=14)
    facts = read_capture_facts(write(tmp_path / "a.jpg", {BASE.MakerNote: note}, {BASE.Make: "Apple"}))
    assert facts.burst == burst[:-1].decode()
    assert facts.content == content[:-1].decode()


def test_sonys_and_nikons_and_canons_brackets_are_read_from_their_notes(tmp_path):
    sony = b"SONY DSC \0\0\0" + directory([(0xB049, 3, 1, struct.pack(">H", 5))])
    nikon = b"Nikon\0\x02\x10\0\0MM\0*\0\0\0\x08" + directory([(0x0089, 3, 1, struct.pack(">H", 16))])
    for maker, note in (("SONY", sony), ("NIKON CORPORATION", nikon)):
        path = write(tmp_path / f"{maker}.jpg", {BASE.MakerNote: note}, {BASE.Make: maker})
        assert read_capture_facts(path).bracketing, maker
        damaged = write(tmp_path / "x.jpg", {BASE.MakerNote: note[:18]}, {BASE.Make: maker})
        assert not read_capture_facts(damaged).bracketing
    # Canon counts places from the begin of the block: first find out where the note lies
    for mode, expected in ((1, True), (0, False)):
        numbers = struct.pack(">5H", 0, 0, 0, mode, 0)
        place = 0
        for _ in range(2):
            note = directory([(0x0093, 3, 5, numbers)], start=place)
            path = write(tmp_path / "c.jpg", {BASE.MakerNote: note}, {BASE.Make: "Canon"})
            place = (tmp_path / "c.jpg").read_bytes().split(b"Exif\0\0")[1].index(note)
        assert read_capture_facts(path).bracketing is expected


def test_an_automatic_bracket_is_told_by_the_exposure_mode(tmp_path):
    assert read_capture_facts(write(tmp_path / "a.jpg", {BASE.ExposureMode: 2})).bracketing
    assert not read_capture_facts(write(tmp_path / "b.jpg", {BASE.ExposureMode: 1})).bracketing


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" {attributes}>{elements}</rdf:Description>
</rdf:RDF></x:xmpmeta>"""


@pytest.mark.parametrize(
    "packet",
    [
        XMP.format(attributes='GCamera:BurstID="b-1" GCamera:BurstPrimary="1"', elements=""),
        XMP.format(
            attributes="",
            elements="<GCamera:BurstID>b-1</GCamera:BurstID><GCamera:BurstPrimary>1</GCamera:BurstPrimary>",
        ),
    ],
)
def test_googles_burst_is_an_attribute_or_an_element(tmp_path, packet):
    facts = read_capture_facts(write(tmp_path / "a.jpg", xmp=packet.encode()))
    assert (facts.burst, facts.cover) == ("b-1", True)
    cut = read_capture_facts(write(tmp_path / "b.jpg", xmp=packet.encode()[:200]))
    assert (cut.burst, cut.cover) == (None, False)


def test_entities_in_xmp_are_not_expanded(tmp_path):
    packet = '<!DOCTYPE x [<!ENTITY e "boom">]>' + XMP.format(attributes='GCamera:BurstID="&e;"', elements="")
    assert read_capture_facts(write(tmp_path / "a.jpg", xmp=packet.encode())).burst is None


def test_only_the_head_of_a_file_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    write(path, {BASE.DateTimeOriginal: "2024:05:01 12:00:00"})
    with path.open("ab") as file:
        file.truncate(MAX_READ * 20)
    read = []
    take = io.FileIO.readinto
    monkeypatch.setattr("piqa.moments.metadata._Bounded.readinto", lambda self, into: _count(take, self, into, read))
    assert read_capture_facts(str(path)).seconds == NOON
    assert sum(read) < 200_000


def _count(take, bounded, into, read):
    count = take(bounded._file, into)
    read.append(count)
    return count


def test_directories_that_point_to_and_fro_end(tmp_path):
    entries = [(0x8769, 4, 1, struct.pack("<I", 8))] * 3 + [(0x9003, 2, 1 << 30, struct.pack("<I", 8))]
    (tmp_path / "a.tif").write_bytes(b"II*\0\x08\0\0\0" + directory(entries, "<"))
    assert read_capture_facts(str(tmp_path / "a.tif")) == CaptureFacts()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\xff\xffExif\0\0II*\0", b"II*\0", b"hello"]
)
def test_a_damaged_file_says_nothing(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_capture_facts(str(tmp_path / "a.jpg")) == CaptureFacts()


def test_a_cut_block_of_exif_says_what_is_whole(tmp_path):
    path = tmp_path / "a.jpg"
    write(path, {BASE.DateTimeOriginal: "2024:05:01 12:00:00"}, {BASE.Make: "One"})
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"2024:05") + 4])
    assert read_capture_facts(str(path)).seconds is None


def test_what_the_machine_refuses_is_an_error(tmp_path):
    with pytest.raises(FileAccessError, match=r"cannot read .*gone\.jpg"):
        read_capture_facts(str(tmp_path / "gone.jpg"))
    with pytest.raises(InputError, match="is a folder"):
        read_capture_facts(str(tmp_path))
