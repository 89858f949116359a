"""Explanations that Neuronpedia exported: reading them, refusing wrong ones, and showing them with their source."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from selectolax.lexbor import LexborHTMLParser as HTMLParser
from sites import Workplace
from synthetic import SCRIPT, write
from test_site_pages import TEMPLATES

from saecatalog.config import Config, load_config, override
from saecatalog.errors import CatalogError
from saecatalog.explanations import ASKED, Explanation, Explanations, read_explanations
from saecatalog.judged import NO_FIGURES, UNJUDGED, Judged
from saecatalog.site.pages.explanations import LONGEST, MOST
from saecatalog.site.render import render_catalog

ID = "gpt2-small/6-res-jb"
D_SAE = 12
GOOD = {
    "id": "clr1",
    "modelId": "gpt2-small",
    "layer": "6-res-jb",
    "index": "3",
    "authorId": "clk1",
    "description": " time-related phrases",
    "embedding": "[0.5, 0.25]",
    "typeName": "oai_token-act-pair",
    "explanationModelName": "gpt-4o-mini",
    "umap_x": 0,
}
"""A row as in an export."""


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def save(path: Path, *rows: dict[str, Any]) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(lines(*rows)) if path.suffix == ".gz" else lines(*rows))
    return str(path)


def test_rows_are_read_by_feature_and_in_the_order_of_the_file(tmp_path: Path) -> None:
    second, empty = GOOD | {"description": "later", "typeName": None}, GOOD | {"description": " \n"}
    first = GOOD | {"index": 0, "explanationModelName": None, "typeName": None}
    found = read_explanations(save(tmp_path / "a.jsonl.gz", GOOD, empty, second, first), ID, D_SAE)
    words = "time-related phrases"
    assert found.found == (
        Explanation(0, words, "", ""),
        Explanation(3, words, "gpt-4o-mini", "oai_token-act-pair"),
        Explanation(3, "later", "gpt-4o-mini", ""),
    )
    assert found.columns()["rank"] == [0, 0, 1]
    assert list(found.notices({0})) == [
        "1 explanation is empty and was left out.",
        "1 feature with an explanation has no page; the data files have it.",
    ]


def test_a_folder_of_batches_is_read_whole(tmp_path: Path) -> None:
    save(tmp_path / "x/batch-0.jsonl.gz", GOOD)
    save(tmp_path / "x/batch-1.jsonl.gz", GOOD | {"index": "4"})
    found = read_explanations(str(tmp_path / "x"), ID, D_SAE)
    assert [one.feature for one in found.found] == [3, 4]


def test_without_the_setting_there_are_none() -> None:
    none = read_explanations("", ID, D_SAE)
    assert (none.found, none.facts()) == ((), None)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (GOOD | {"layer": "8-res-jb"}, f"'gpt2-small/8-res-jb'; the catalog's is '{ID}'"),
        (GOOD | {"modelId": "gpt2-xl"}, f"'gpt2-xl/6-res-jb'; the catalog's is '{ID}'"),
        (GOOD | {"index": str(D_SAE)}, f"no feature {D_SAE}"),
        (GOOD | {"index": "03x"}, "'index' is"),
        (GOOD | {"description": None}, "'description' is null"),
        ({name: value for name, value in GOOD.items() if name != "description"}, "'description' is missing"),
        (GOOD | {"typeName": 3}, "'typeName' is 3"),
    ],
)
def test_a_wrong_row_is_named_with_file_and_line(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", GOOD, row)
    with pytest.raises(CatalogError) as error:
        read_explanations(path, ID, D_SAE)
    assert said in error.value.what
    assert error.value.where == f"{path}, line 2"


def test_a_file_without_an_explanation_and_no_file_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jsonl", GOOD | {"description": ""})
    with pytest.raises(CatalogError, match="no explanation"):
        read_explanations(path, ID, D_SAE)
    with pytest.raises(CatalogError, match="does not exist"):
        read_explanations(str(tmp_path / "b.jsonl"), ID, D_SAE)


def rows(*texts: str, feature: int = 2, model: str = "gpt-4o-mini", kind: str = "") -> list[dict[str, Any]]:
    row = {"feature": feature, "model": model, "type": kind, "source": ID, "unscored": "not judged"}
    row |= UNJUDGED._asdict() | NO_FIGURES
    return [row | {"rank": rank, "description": text} for rank, text in enumerate(texts)]


def pages(folder: Path, **wishes: Any) -> dict[int, str]:
    """The pages of the features 2, 3 and 4 of the synthetic catalog."""
    tables, manifest = write(folder / "tables", **wishes)
    paths = {number: f"features/{number}.html" for number in (2, 3, 4)}
    render_catalog(tables, manifest, TEMPLATES, folder / "site", only=paths.values())
    return {number: (folder / "site" / path).read_text(encoding="utf-8") for number, path in paths.items()}


def test_a_page_shows_explanations_with_their_source(tmp_path: Path) -> None:
    texts = [f"{SCRIPT} & \u202etxt", "long " * 200, *map(str, range(MOST))]
    explained = rows(*texts, kind="oai_token-act-pair") + rows("x", feature=3, model="")
    found = pages(tmp_path, neuronpedia=ID, explanations=explained)
    html = found[2]
    section = HTMLParser(html).css_first("#explanations")
    assert SCRIPT not in html
    assert section.css_first("h2").text() == "Explanations from Neuronpedia"
    shown = [item.text() for item in section.css("li")]
    assert len(shown) == MOST
    assert shown[0].strip() == f"{SCRIPT} & U+202Etxt (gpt-4o-mini, oai_token-act-pair)"
    assert len(shown[1]) < LONGEST + 60
    assert "…" in shown[1]
    assert "not a result of this catalog" in section.text()
    assert section.css_first("a").text() == "2 more explanations"
    other = HTMLParser(found[3])
    assert other.css_first("#explanations li").text().strip() == "x (author not stated)"
    assert 'id="explanations"' not in found[4]


def test_a_page_says_how_good_an_explanation_is(tmp_path: Path) -> None:
    weak = Judged(f"judge {SCRIPT}", 10, 8, 6, 4, 3, 5, 4, 9, 1)
    clear = Judged("judge", 10, 10, 10, 0)
    (first, second, third) = rows("weak", "clear", "too few", kind=ASKED)
    first |= {"unscored": "", **weak._asdict(), **weak.figures()}
    second |= {"unscored": "", **clear._asdict(), **clear.figures()}
    third |= {"unscored": "active on fewer than five held-out texts"}
    found = pages(tmp_path, neuronpedia=ID, explanations=[first, second, third])[2]
    section = HTMLParser(found).css_first("#explanations")
    assert SCRIPT not in found
    assert section.css_first("h2").text() == "Explanations"
    shown = [" ".join(item.text().split()) for item in section.css("li")]
    assert shown == [
        f"weak (gpt-4o-mini)judge {SCRIPT} named 6 of 10 texts with the feature and 4 of 8 without: balanced accuracy "
        "0.55 [0.35, 0.73], no better than chance; another feature’s explanation 0.50, this label’s rule 0.89.",
        "clear (gpt-4o-mini)judge named 10 of 10 texts with the feature and 0 of 10 without: balanced accuracy "
        "1.00 [0.80, 1.00].",
        "too few (gpt-4o-mini)Not scored: active on fewer than five held-out texts.",
    ]
    assert "0.5 is chance" in section.text()


def test_those_of_an_sae_that_is_not_there_are_not_called_neuronpedias(tmp_path: Path) -> None:
    section = HTMLParser(pages(tmp_path, explanations=rows("mine"))[2]).css_first("#explanations")
    assert "Neuronpedia" not in section.text()


def test_a_changed_explanation_is_published(place: Workplace) -> None:
    def publish(text: str) -> bool:
        return place.publish(explanations=Explanations(ID, (Explanation(2, text, "gpt-4o-mini", ""),)))

    page, data = place.catalog / "features/2.html", place.catalog / "data/explanations.parquet"
    assert publish("first words")
    assert "first words" in page.read_text(encoding="utf-8")
    assert not publish("first words")
    assert publish("other words")
    assert "first words" not in page.read_text(encoding="utf-8")
    assert pq.read_table(data)["description"].to_pylist() == ["other words"]
    assert "other words" in (place.catalog / "data/explanations.csv").read_text(encoding="utf-8")


def test_the_path_is_relative_to_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_text('[site]\nexplanations = "found/a.jsonl"\n', encoding="utf-8")
    assert load_config(tmp_path / "catalog.toml").site.explanations == str(tmp_path / "found/a.jsonl")
    assert override(Config(), "site", explanations="b.jsonl").site.explanations == "b.jsonl"
