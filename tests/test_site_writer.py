"""Writing the files of a catalog: whole, or with an error."""

import sys
from pathlib import Path

import pytest

from saecatalog.site.writer import write_whole


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of files")
def test_a_file_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    """The system writes the part that fits, and says how much that was."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        write_whole(tmp_path / "small", b"x" * 5000)
        with pytest.raises(OSError, match="too large"):
            write_whole(tmp_path / "large", b"x" * 5001)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "small").stat().st_size == 5000
