"""A catalog of a dictionary too wide for one search index: 400 features with labels and tokens at random, eight pages.

The limits that decide about a wide dictionary are small here, so that the search has many parts. `conftest.py` names
this module as a plugin.
"""

import random
from pathlib import Path

import pandas as pd
import pytest
from synthetic import write
from test_site_pages import TEMPLATES

from saecatalog.schemas import SCHEMAS
from saecatalog.site import search, search_parts
from saecatalog.site.catalog import Catalog
from saecatalog.site.render import render_catalog
from saecatalog.tables import Tables, TableWriter

WIDE = 400
SILENT_TOO = 77
TEXT = (
    "harbour harbours harp hat th the their then there thing think this those though three through throw dog dogma run "
    "running Straße naïve éclair zebra zoo x_1 1984 ( ) == 日本 日語 ไทย 🙂 👋🏽 don't semi-colon ＡＢ İstanbul ΣΟΦΟΣ"
)
WORDS = TEXT.split()
LIMITS = {
    (search, "WHOLE"): 20,
    (search_parts, "PART"): 400,
    (search_parts, "IN_PART"): 16,
    (search_parts, "BLOCK"): 64,
}


def wide_tables(folder: Path) -> tuple[Tables, dict[str, object]]:
    """The tables of the synthetic catalog, with many more features without a page."""
    chance = random.Random(3)
    tables, manifest = write(folder / "small")
    small = tables["features"]
    more = pd.concat([small[small["page"] == ""]] * WIDE, ignore_index=True).iloc[: WIDE - len(small)]
    frame = pd.concat([small, more], ignore_index=True).assign(feature=range(WIDE))
    frame.loc[len(small) :, "label"] = [f"“{' '.join(chance.choices(WORDS, k=3))}”" for _ in more.index]
    frame.loc[len(small) :, "density"] = [chance.choice((0.5, 0.1, 0.01, 0.0001)) for _ in more.index]
    frame.loc[len(small) :, "n_active"] = 7
    frame.loc[SILENT_TOO, ["label", "density", "n_active", "max"]] = ["", 0.0, 0, 0.0]
    tokens = [
        {**tables["tokens"].iloc[0].to_dict(), "feature": number, "rank": rank, "token": f" {chance.choice(WORDS)}"}
        for number in range(len(small), WIDE)
        if number != SILENT_TOO
        for rank in range(4)
    ]
    changed = {"features": frame, "tokens": pd.concat([tables["tokens"], pd.DataFrame(tokens)])}
    (folder / "wide").mkdir()
    with TableWriter(folder / "wide") as writer:
        for name in SCHEMAS:
            writer.write(name, changed.get(name, tables[name]))
    manifest["sae"]["d_sae"] = manifest["counts"]["features"] = WIDE
    return Tables(folder / "wide"), manifest


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> tuple[Catalog, Path]:
    """The catalog and its site, in a folder two levels below the top."""
    folder = tmp_path_factory.mktemp("wide")
    site = folder / "papers/catalog"
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), value in LIMITS.items():
            patch.setattr(module, name, value)
        tables, manifest = wide_tables(folder)
        render_catalog(tables, manifest, TEMPLATES, site, workers=1)
    return Catalog(tables, manifest), site
