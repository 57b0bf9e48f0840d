"""Let the documents be shown where other applications of the environment look for them."""

from __future__ import annotations

from dataclasses import replace

from sync.findings import replace_everywhere
from sync.ports import Ports


def catch_up(ports: Ports) -> None:
    """Project what is missing, where that is switched on; what stands in the way is a finding."""
    if ports.projection is None:
        return
    findings = ports.projection.catch_up(ports.now())
    judged = [replace(one, severity=ports.policy.get(one.check, one.severity)) for one in findings]
    replace_everywhere(ports.store, ports.projection.checks, judged)
