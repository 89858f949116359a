"""Print a version's section of CHANGELOG.md; fails if the program has another version or the section has no date.

python .github/changelog_section.py 0.2.0
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def section(changelog: str, version: str) -> str:
    """The text from the heading `## [version] - date` to the next version; raises ValueError if there is no heading."""
    found = re.search(
        rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d\n(.+?)(?=^## \[|\Z)", changelog, re.MULTILINE | re.DOTALL
    )
    if not found:
        raise ValueError(f"CHANGELOG.md has no dated section [{version}].")
    return found[1].strip()


def main() -> None:
    version = sys.argv[1]
    program = (ROOT / "src/saecatalog/__init__.py").read_text(encoding="utf-8")
    if f'__version__ = "{version}"' not in program:
        sys.exit(f"The version in src/saecatalog/__init__.py is not {version}.")
    try:
        sys.stdout.write(section((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version) + "\n")
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
