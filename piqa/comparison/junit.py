"""The gate's answer as JUnit XML, which CI servers read: a test case for all scenes and one for each condition.

The attributes are those of junit-10.xsd, as pytest writes them. A critical case that failed is a `failure`; one that is
not decided is `skipped`, as is a condition that the gate does not hang on and that did not pass; where the shots could
not be compared there is one `error`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from xml.etree import ElementTree

from piqa.comparison.verdict import Gate, GateCase
from piqa.errors import InputError
from piqa.system.files import regular_target, replacing

SUITE = "piqa compare"
# What XML 1.0 does not allow: controls, lone surrogates and two non-characters.
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
MARK = re.compile(rb"<!-- written by piqa, ([0-9a-f]{32}) -->\n\Z")


def junit_xml(gate: Gate, seconds: float, properties: Mapping[str, object]) -> str:
    """Return the document of a gate.

    Args:
        gate: Its answer.
        seconds: What the comparison took.
        properties: What else is told, such as the model.
    """
    cases = [_case(case, gate, seconds) for case in gate.cases]
    return _document(cases, seconds, {**properties, "claim": gate.claim, "state": gate.state, "alpha": gate.alpha})


def error_xml(claim: str, message: str, seconds: float) -> str:
    """Return the document of a gate whose shots could not be compared."""
    case = ElementTree.Element("testcase", _attributes(classname=SUITE, name=claim, time=f"{seconds:.3f}"))
    fault = ElementTree.SubElement(case, "error", _attributes(message=message, type="DataError"))
    fault.text = escaped(message)
    return _document([case], seconds, {"claim": claim})


def write_junit(text: str, path: str | Path) -> None:
    """Write the document; raise InputError where a file is there that piqa did not write, or that was changed since."""
    check_junit(path)
    content = text.encode("utf-8")
    mark = hashlib.blake2b(content, digest_size=16).hexdigest()
    with replacing(path) as temporary:
        temporary.write_bytes(content + f"<!-- written by piqa, {mark} -->\n".encode())


def check_junit(path: str | Path) -> None:
    """Raise InputError where the file cannot be replaced: somebody else wrote or changed it."""
    target = regular_target(path)
    if not target.exists() or not target.stat().st_size:
        return
    content = target.read_bytes()
    mark = MARK.search(content)
    if mark is None or hashlib.blake2b(content[: mark.start()], digest_size=16).hexdigest() != mark[1].decode():
        raise InputError(f"{path} is there and is not as piqa wrote it; name another `--junit`, or move it away")


def escaped(value: object) -> str:
    r"""Return a text that XML may hold: what it forbids is written as Python would.

    Examples:
        >>> escaped("a\x07b")
        'a\\x07b'
    """
    return FORBIDDEN.sub(lambda sign: sign[0].encode("unicode_escape", "surrogatepass").decode("ascii"), str(value))


def _case(case: GateCase, gate: Gate, seconds: float) -> ElementTree.Element:
    whole = case is gate.cases[0]
    name = f"not {gate.claim}: {case.name}"
    taken = seconds if whole else 0.0
    found = ElementTree.Element("testcase", _attributes(classname=SUITE, name=name, time=f"{taken:.3f}"))
    if case.state == "failed" and case.critical:
        fault = ElementTree.SubElement(found, "failure", _attributes(message=case.message, type="Worse"))
        fault.text = escaped(f"{case.message}; one-sided p = {case.p_worse:.4g}, alpha = {gate.alpha:.4g}")
    elif case.state != "passed":
        told = case.message if case.critical else f"the gate does not hang on this condition: {case.message}"
        ElementTree.SubElement(found, "skipped", _attributes(message=told))
    return found


def _document(cases: list[ElementTree.Element], seconds: float, properties: Mapping[str, object]) -> str:
    kinds = {
        kind: str(sum(case.find(kind[:-1] if kind != "skipped" else kind) is not None for case in cases))
        for kind in ("failures", "errors", "skipped")
    }
    counts = {"tests": str(len(cases)), **kinds, "time": f"{seconds:.3f}"}
    root = ElementTree.Element("testsuites", {"name": SUITE, **counts})
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    suite = ElementTree.SubElement(root, "testsuite", {"name": SUITE, **counts, "timestamp": now})
    listed = ElementTree.SubElement(suite, "properties")
    for name, value in properties.items():
        ElementTree.SubElement(listed, "property", _attributes(name=name, value=value))
    suite.extend(cases)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _attributes(**values: object) -> dict[str, str]:
    return {name: escaped(value) for name, value in values.items()}
