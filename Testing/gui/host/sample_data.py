"""The host's SampleData: registrations are kept, downloads read from a folder that a test gives."""

# ruff: noqa: RUF012  (names of the real classes; tables that nobody changes)

from __future__ import annotations

from typing import Any


class SampleDataLogic:
    """Keeps what is registered."""

    categories: dict[str, str] = {}
    sources: list[dict[str, Any]] = []

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str | None = None) -> None:
        """A category of the Sample Data module."""
        SampleDataLogic.categories[category] = title or category

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: Any = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileType: str | None = None,
        loadFileProperties: Any = None,
        checksums: Any = None,
        sampleDescription: str | None = None,
        **options: Any,
    ) -> None:
        """One data set; lists must be as long as each other, as in Slicer."""
        lists = [value for value in (uris, fileNames, nodeNames, checksums) if isinstance(value, list)]
        if len({len(value) for value in lists}) > 1:
            raise ValueError("All the arguments that are lists must be of the same length")
        entry = {"category": category, "sampleName": sampleName, "uris": uris, "fileNames": fileNames}
        entry |= {"nodeNames": nodeNames, "thumbnailFileName": thumbnailFileName, "checksums": checksums}
        entry |= {"sampleDescription": sampleDescription, "customDownloader": customDownloader}
        SampleDataLogic.sources.append(entry)
