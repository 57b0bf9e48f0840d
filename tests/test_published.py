"""The copies of published payloads are what was published."""

from pathlib import Path

import pytest

COPIES = Path(__file__).with_name("published")
ORIGINALS = COPIES.parents[1] / "../shared"


@pytest.mark.skipif(not ORIGINALS.is_dir(), reason="the originals are not beside the clone")
@pytest.mark.parametrize("folder", ["samples", "contracts"])
def test_each_copy_equals_its_original(folder):
    originals = {
        path.relative_to(ORIGINALS): path.read_bytes()
        for path in (ORIGINALS / folder).rglob("*")
        if path.is_file()
    }
    copies = {
        path.relative_to(COPIES): path.read_bytes()
        for path in (COPIES / folder).rglob("*")
        if path.is_file()
    }
    assert copies == originals
