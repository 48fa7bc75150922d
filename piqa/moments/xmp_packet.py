"""Change single properties of an XMP packet, byte for byte as it is everywhere else.

The packet is parsed, but never written anew: expat tells at which byte an element begins, and the changes are spliced
into the bytes. So what other programs keep there stays: nodes, attributes, comments, white space, the packet's wrapper.

Reference: Adobe XMP Specification Part 1 (2012), 7.4 (a simple property is an attribute of a top-level rdf:Description
or an element in it) and 7.9.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

import defusedxml.ElementTree
from defusedxml import DefusedXmlException

from piqa.errors import InputError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
PREFIXES = {  # of namespaces that are written, where a packet has no prefix of its own for them
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://www.digikam.org/ns/1.0/": "digiKam",
    "urn:dn-piqa:picks:1.0/": "piqa",
}
EMPTY = b"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description
    rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
"""
ENCODINGS = {"utf-8", "us-ascii", "iso-8859-1"}  # in which markup and our values are the bytes of ASCII
START_TAG = re.compile(rb"""<([^\s/>]+)((?:[^>"']|"[^"]*"|'[^']*')*?)(/?)>""")
ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
MAX_BYTES = 64 << 20  # masks drawn by hand make long sidecars, but none of this size

Property = tuple[str, str]  # namespace, local name
Splice = tuple[int, int, bytes]  # from this byte to that one, replaced by these


@dataclass
class _Tag:
    """A start tag: where it is, and which prefixes it and its children know."""

    start: int
    end: int
    name: bytes
    closed: bool  # `<a/>`
    attributes: dict[bytes, tuple[int, int, int, int]]  # name: from the space before to the end; from value to its end
    scope: dict[str, str]
    values: dict[str, str]


@dataclass
class _Place:
    """Where a property stands: all of it with the space before, and its text where that can be replaced."""

    whole: tuple[int, int]
    text: tuple[int, int] | None
    value: str
    empty: bool = False  # an element `<a/>`, whose text has no place yet


@dataclass
class Packet:
    """The properties of a packet and where they stand.

    Attributes:
        content: Its bytes.
        places: Of every property of a top-level rdf:Description, attribute or element.
    """

    content: bytes
    places: dict[Property, list[_Place]] = field(default_factory=dict)
    _root: _Tag | None = None
    _root_end: int = 0
    _first: _Tag | None = None

    def value(self, name: Property) -> str | None:
        """Return the text of a simple property, "" of any other; None where the packet has none of that name."""
        places = self.places.get(name)
        return places[0].value.strip() if places else None

    def edited(self, values: Mapping[Property, str | None]) -> bytes:
        """Return the packet with these properties set, or removed where the value is None.

        Raises:
            InputError: If one of them has a form that cannot be changed alone, or stands there twice.
        """
        splices: list[Splice] = []
        added = {}
        for name, value in values.items():
            if self.value(name) == value:
                continue
            places = self.places.get(name, [])
            if len({place.value for place in places}) > 1:
                raise InputError(f"it holds {name[1]} more than once, with different values")
            if any(place.text is None for place in places):
                raise InputError(f"it holds {name[1]} in a form that cannot be changed alone")
            if not places and value is not None:
                added[name] = value
            splices += [self._replaced(place, value) for place in places]
        return spliced(self.content, splices + (self._added(added) if added else []))

    def _replaced(self, place: _Place, value: str | None) -> Splice:
        if value is None:
            return (*place.whole, b"")
        assert place.text is not None
        if not place.empty:
            return (*place.text, escaped(value))
        start, end = place.text  # `<a/>`
        tag = self.content[start:end]
        name = tag[1:].split(b"/")[0].split()[0]
        return start, end, tag[:-2].rstrip() + b">" + escaped(value) + b"</" + name + b">"

    def _added(self, values: Mapping[Property, str]) -> list[Splice]:
        """Return what adds attributes to the first rdf:Description, or a new one to rdf:RDF."""
        tag = self._first
        if tag is not None:
            last = list(tag.attributes.values())[-1:]
            place = last[0][1] if last else tag.start + 1 + len(tag.name)
            space = _space_at(self.content, last[0][0]) if last else b" "
            return [(place, place, _attributes(values, tag.scope, space))]
        root = self._root
        assert root is not None
        rdf = root.name.rpartition(b":")[0]
        name = (rdf + b":" if rdf else b"") + b"Description"
        about = (rdf + b":" if rdf else b"") + b'about=""'
        made = b"<" + name + b" " + about + _attributes(values, root.scope, b"\n    ") + b"/>\n"
        if not root.closed:
            return [(self._root_end, self._root_end, made)]
        inner = self.content[root.start : root.end - 2].rstrip() + b">\n  " + made + b"</" + root.name + b">"
        return [(root.start, root.end, inner)]


def spliced(content: bytes, splices: Sequence[Splice]) -> bytes:
    """Return the bytes with some replaced; splices do not overlap.

    Examples:
        >>> spliced(b"abcd", [(3, 4, b""), (1, 2, b"BB")])
        b'aBBc'
    """
    for start, end, new in sorted(splices, key=lambda one: one[:2], reverse=True):
        content = content[:start] + new + content[end:]
    return content


def difference(before: bytes, after: bytes) -> Splice:
    """Return the one splice that turns `after` back into `before`, as short as it can be.

    Examples:
        >>> difference(b"Rating=1 x", b"Rating=5 y=2 x")
        (7, 12, b'1')
    """
    shorter = min(len(before), len(after))
    head = _common(before, after, shorter)
    tail = _common(before[head:][::-1], after[head:][::-1], shorter - head)
    return head, len(after) - tail, before[head : len(before) - tail]


def escaped(text: str) -> bytes:
    """Return a text as ASCII that stands in an attribute or an element of any encoding."""
    marks = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"}
    return "".join(marks.get(sign, sign) for sign in map(_allowed, text)).encode("ascii", "xmlcharrefreplace")


def read_packet(content: bytes) -> Packet:
    """Find the properties of a packet.

    Raises:
        InputError: If it is no XMP, damaged, too large, in an encoding that is not edited, or has a DTD or entities.
    """
    if len(content) > MAX_BYTES:
        raise InputError(f"it has more than {MAX_BYTES >> 20} MiB")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content[:100]:
        raise InputError("it is in UTF-16 or UTF-32, which is not edited")
    try:
        defusedxml.ElementTree.fromstring(content, forbid_dtd=True)
    except DefusedXmlException:
        raise InputError("it declares a document type or entities, which no XMP does") from None
    except Exception as error:  # ParseError; an unknown encoding raises LookupError or ValueError
        raise InputError(f"it is no well-formed XML ({error})") from None
    reader = _Reader(content)
    return reader.packet


class _Reader:
    """Reads a packet, whose XML was found to be well-formed and without entities of its own."""

    def __init__(self, content: bytes) -> None:
        self.packet = Packet(content)
        self._open: list[_Tag] = []
        self._text: list[str] = []
        self._parser = parser = expat.ParserCreate()
        parser.XmlDeclHandler = self._declared
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        parser.CharacterDataHandler = self._text.append
        parser.Parse(content, True)
        if self.packet._root is None:
            raise InputError("it holds no rdf:RDF, so it is no XMP")

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ENCODINGS:
            raise InputError(f"it is in {encoding}, which is not edited")

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        start = self._parser.CurrentByteIndex
        found = START_TAG.match(self.packet.content, start)
        if found is None:
            raise InputError("its XML cannot be followed byte by byte")
        before = self._open[-1].scope if self._open else {"xml": "http://www.w3.org/XML/1998/namespace"}
        declared = {key.partition(":")[2]: value for key, value in attributes.items() if key.split(":")[0] == "xmlns"}
        spans = {
            one[1]: (one.start(), one.end(), one.start(2) + 1, one.end(2) - 1)
            for one in ATTRIBUTE.finditer(self.packet.content, found.start(2), found.end(2))
        }
        tag = _Tag(start, found.end(), found[1], bool(found[3]), spans, before | declared, attributes)
        self._open.append(tag)
        self._text.clear()
        names = [_resolved(one.name.decode("utf-8", "replace"), one.scope) for one in self._open[-2:]]
        if names[-1] == (RDF, "RDF"):
            if self.packet._root is not None:
                raise InputError("it holds rdf:RDF more than once")
            self.packet._root = tag
        elif names == [(RDF, "RDF"), (RDF, "Description")]:
            self.packet._first = self.packet._first or tag
            self._attributes(tag)

    def _attributes(self, tag: _Tag) -> None:
        for raw, (start, end, value, value_end) in tag.attributes.items():
            name = raw.decode("utf-8", "replace")
            if ":" in name and not name.startswith("xmlns:"):
                place = _Place((start, end), (value, value_end), tag.values.get(name, ""))
                self.packet.places.setdefault(_resolved(name, tag.scope), []).append(place)

    def _ended(self, name: str) -> None:
        tag = self._open.pop()
        content, index = self.packet.content, self._parser.CurrentByteIndex
        if tag is self.packet._root:
            self.packet._root_end = index
        parents = [_resolved(one.name.decode("utf-8", "replace"), one.scope) for one in self._open[-2:]]
        if parents == [(RDF, "RDF"), (RDF, "Description")]:
            end = tag.end if tag.closed else content.index(b">", index) + 1
            text = (tag.start, tag.end) if tag.closed else (tag.end, index)
            forms = {_resolved(key, tag.scope)[0] for key in tag.values if not key.startswith("xmlns")}
            simple = RDF not in forms and (tag.closed or b"<" not in content[tag.end : index])
            before = tag.start
            while content[before - 1 : before].isspace():
                before -= 1
            value = "".join(self._text) if simple else ""
            place = _Place((before, end), text if simple else None, value, tag.closed)
            self.packet.places.setdefault(_resolved(name, tag.scope), []).append(place)
        self._text.clear()


def _space_at(content: bytes, start: int) -> bytes:
    found = re.compile(rb"\s+").match(content, start)
    return found[0] if found else b" "


def _resolved(name: str, scope: Mapping[str, str]) -> Property:
    prefix, _, local = name.rpartition(":")
    return scope.get(prefix, ""), local


def _attributes(values: Mapping[Property, str], scope: Mapping[str, str], space: bytes) -> bytes:
    """Return attributes, and before them the declarations of prefixes that are not known at that place."""
    prefixes = {uri: prefix for prefix, uri in scope.items() if prefix}
    declared = b""
    for uri, _ in values:
        if uri in prefixes:
            continue
        prefix = PREFIXES[uri]
        while prefix in scope or prefix in prefixes.values():  # it stands for another namespace here
            prefix += "1"
        prefixes[uri] = prefix
        declared += space + f'xmlns:{prefix}="{uri}"'.encode()
    return declared + b"".join(
        space + f"{prefixes[uri]}:{local}=".encode() + b'"' + escaped(value) + b'"'
        for (uri, local), value in values.items()
    )


def _allowed(sign: str) -> str:
    """Return a sign that XML can hold: a control, a lone surrogate or a non-character becomes a replacement."""
    number = ord(sign)
    fits = 0x20 <= number <= 0xD7FF or 0xE000 <= number <= 0xFFFD or number >= 0x10000
    return sign if fits else "\N{REPLACEMENT CHARACTER}"


def _common(a: bytes, b: bytes, most: int) -> int:
    """Return how many first bytes are the same, by bisection."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
