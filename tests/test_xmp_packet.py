"""XMP packets: single properties change, and every other byte stays."""

from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sidecar_files import BOMB, BROKEN, DARKTABLE, FOREIGN, LIGHTROOM, RDF

from piqa.errors import InputError
from piqa.moments.xmp_packet import EMPTY, difference, read_packet, spliced

XMP = "http://ns.adobe.com/xap/1.0/"
RATING, LABEL, DATE = (XMP, "Rating"), (XMP, "Label"), (XMP, "MetadataDate")
SCORE, WINDOWS = ("urn:dn-piqa:picks:1.0/", "score"), ("http://ns.microsoft.com/photo/1.0", "Rating")


def test_an_attribute_changes_and_no_other_byte():
    changed = read_packet(DARKTABLE).edited({RATING: "5"})
    assert changed == DARKTABLE.replace(b'xmp:Rating="2"', b'xmp:Rating="5"')
    assert b'xmp:Rating="4"' in changed  # of the history, which is none of the picture's


def test_elements_in_several_descriptions_change_and_no_other_byte():
    changed = read_packet(LIGHTROOM).edited({RATING: "5", LABEL: "Green", DATE: "now", WINDOWS: "99"})
    expected = LIGHTROOM.replace(b"<xap:Rating>3<", b"<xap:Rating>5<").replace(b">Red<", b">Green<")
    assert changed == expected.replace(b"2024-05-02T08:00:00+02:00", b"now").replace(b"m:Rating='50'", b"m:Rating='99'")


@pytest.mark.parametrize(
    "content", [DARKTABLE, b"\xef\xbb\xbf" + LIGHTROOM, EMPTY], ids=["darktable", "Lightroom", "none"]
)
def test_what_is_added_is_read_and_taken_away_again(content):
    values = {LABEL: "Green", SCORE: "0.5", DATE: "now"}
    before = read_packet(content)
    after = read_packet(before.edited(values))
    assert {name: after.value(name) for name in values} == values
    ElementTree.fromstring(after.content)  # another reader finds it well-formed
    old = {name: before.value(name) for name in values}
    again = read_packet(after.edited(old))
    assert {name: again.value(name) for name in values} == old
    assert spliced(after.content, [difference(content, after.content)]) == content


@given(st.text(), st.sampled_from([DARKTABLE, LIGHTROOM, EMPTY]))
@example("\ud800\x00\ufffe <&>\"'\r\n", LIGHTROOM)
def test_any_text_can_be_a_value_and_breaks_nothing(text, content):
    after = read_packet(read_packet(content).edited({LABEL: text, SCORE: text}))
    expected = "".join(
        c if c >= " " and c not in "\ufffe\uffff" and not "\ud800" <= c <= "\udfff" else "\ufffd" for c in text
    )
    assert after.value(SCORE) == after.value(LABEL) == expected.strip()
    assert len(after.places) == len({*read_packet(content).places, LABEL, SCORE})


ADOBE = b"http://ns.adobe.com/xap/1.0/"
ODD = {
    b'<r:RDF xmlns:r="%(rdf)s"></r:RDF>': b"<r:Description",
    b'<r:RDF xmlns:r="%(rdf)s"/>': b"<r:Description",
    b'<r:RDF xmlns:r="%(rdf)s"><r:Description/></r:RDF>': b"<r:Description xmlns:xmp",
    b'<RDF xmlns="%(rdf)s" xmlns:xmp="urn:other"><Description about=""/></RDF>': b'xmp1:Rating="5"',
    b'<r:RDF xmlns:r="%(rdf)s"><r:Description xmlns="%(xmp)s"><Rating/></r:Description></r:RDF>': b"<Rating>5</Rating>",
    b"<r:RDF xmlns:r='%(rdf)s'>\n<r:Description\n\tr:about='' xmlns:q='%(xmp)s'/></r:RDF>": b" q:Rating",
}


@pytest.mark.parametrize(("content", "where"), ODD.items())
def test_odd_forms_of_rdf_are_followed(content, where):
    content %= {b"rdf": RDF, b"xmp": ADOBE}
    changed = read_packet(content).edited({RATING: "5"})
    assert where in changed
    assert read_packet(changed).value(RATING) == "5"
    ElementTree.fromstring(changed)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, "document type"),
        (BROKEN, "well-formed"),
        (b"", "well-formed"),
        (FOREIGN, "no XMP"),
        (DARKTABLE.decode().replace("UTF-8", "UTF-16").encode("utf-16"), "UTF-16"),
        (DARKTABLE.replace(b"UTF-8", b"cp1252"), "cp1252"),
        (DARKTABLE.replace(b'xmp:Rating="2"', b""), None),
        (DARKTABLE.replace(b"   <lr:h", b"<xmp:Rating>3</xmp:Rating>   <lr:h", 1), "more than once"),
        (LIGHTROOM.replace(b">3<", b"><!-- x -->3<"), "cannot be changed alone"),
        (LIGHTROOM.replace(b"<xap:Rating>", b"<xap:Rating r:parseType='Resource'>"), "cannot be changed alone"),
    ],
)
def test_what_cannot_be_edited_safely_is_refused(content, message):
    if message is None:
        assert read_packet(content).value(RATING) is None
        return
    with pytest.raises(InputError, match=message):
        read_packet(content).edited({RATING: "5"})
