"""The job that prints a project as PDF."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from piqa.errors import InputError
from piqa.report.pages import PDF, PDF_PORTRAITS, heading, portrait_view
from piqa.server.jobs import Running
from piqa.server.records import Facts
from piqa.system.files import replacing
from piqa.system.phrases import Phrase
from piqa.web.page import render_page
from piqa.web.pdf import write_pdf

if TYPE_CHECKING:
    from piqa.server.services import Services

PRINT = "pdf"  # kind of the job


class PrintJob:
    """Prints the portraits of a project, a page each.

    Args:
        services: Of the server.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Running) -> Facts:
        """Write the PDF into the results of the project; InputError where nothing here can make one."""
        assert job.project is not None
        portraits = self._services.photos.portraits(job.project, PDF_PORTRAITS, as_data=True)
        measured, head = portraits.measured(), heading(portraits)
        if not measured:
            raise InputError(Phrase("no photo of this project is measured, so that there is nothing to print"))
        job.tell(0, len(measured))

        def documents() -> Iterator[str]:
            for start in range(0, len(measured), PDF_PORTRAITS):
                chunk = measured[start : start + PDF_PORTRAITS]
                views = [portrait_view(portraits, portraits[position]) for position in chunk]
                yield render_page("report/print.html", head=head, portraits=views)
                job.tell(min(start + PDF_PORTRAITS, len(measured)))

        with replacing(self._services.storage.results(job.project) / PDF) as temporary:
            write_pdf(documents(), temporary)
        return {"file": PDF, "portraits": len(measured)}
