"""The adapters satisfy the ports of the use cases by shape: the type checker says so."""

from __future__ import annotations

from pathlib import Path

from mypy import api

from partner_center.client import PartnerCenterClient
from partner_center.graph import GraphDirectory
from sync.ports import Archive, Directory, PartnerCenter, Queue
from transport.blobs import BlobArchive, FolderArchive
from transport.queues import AzureQueue, MemoryQueue


def _partner_center(client: PartnerCenterClient) -> PartnerCenter:
    return client


def _directory(client: GraphDirectory) -> Directory:
    return client


def _archives(folder: FolderArchive, blobs: BlobArchive) -> tuple[Archive, Archive]:
    return folder, blobs


def _queues(memory: MemoryQueue, azure: AzureQueue) -> tuple[Queue, Queue]:
    return memory, azure


def test_the_adapters_have_the_shape_of_the_ports() -> None:
    report, problems, _ = api.run(["--strict", str(Path(__file__))])
    ours = [line for line in report.splitlines() if Path(__file__).name in line]
    assert (ours, problems) == ([], "")
