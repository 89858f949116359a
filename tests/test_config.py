"""Settings: what a catalog file may contain, and how its mistakes are reported."""

from pathlib import Path

import pytest

from saecatalog.config import Config, load_config, override
from saecatalog.errors import CatalogError

ROOT = Path(__file__).parent.parent


def write(folder: Path, content: str) -> Path:
    path = folder / "c.toml"
    path.write_text(content, encoding="utf-8")
    return path


def test_default_catalog_sets_only_what_the_defaults_say() -> None:
    config = load_config(ROOT / "catalog.toml")
    assert config.subject == Config().subject
    assert config.analysis == Config().analysis
    assert [Path(p).resolve() for p in config.corpus.paths] == [ROOT / "corpora"]


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    content = '[corpus]\npaths = ["mine"]\nconcepts = "ideas"\n[site]\nout = "web"\nnotes = "said"\n'
    config = load_config(write(tmp_path, content))
    assert config.corpus.paths == (str(tmp_path / "mine"),)
    assert config.corpus.concepts == str(tmp_path / "ideas")
    assert config.site.out == str(tmp_path / "web")
    assert config.site.notes == str(tmp_path / "said")


def test_the_folder_of_notes_beside_the_file_is_taken_unless_another_or_none_is_named(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")).site.notes == ""
    (tmp_path / "notes").mkdir()
    assert load_config(write(tmp_path, "")).site.notes == str(tmp_path / "notes")
    assert load_config(write(tmp_path, "[site]\nnotes = ''\n")).site.notes == ""
    assert load_config(write(tmp_path, "[site]\nnotes = 'other'\n")).site.notes == str(tmp_path / "other")


def test_all_mistakes_are_reported_together_with_their_lines(tmp_path: Path) -> None:
    content = '[analysis]\ntopp = 3\nnotable = 0\n\n[sight]\nout = "x"\n\n[site]\ncsv = "yes"\n'
    with pytest.raises(CatalogError) as caught:
        load_config(write(tmp_path, content))
    message = str(caught.value)
    assert "line 2: [analysis] topp is not a setting. Did you mean top?" in message
    assert "line 3: [analysis] notable is 0; use a whole number, 1 or more" in message
    assert "line 5: unknown setting or section 'sight'. Did you mean site?" in message
    assert "line 9: [site] csv is 'yes'; use true or false" in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("top = ", "cannot be read"),
        ("[subject]\nsae = 3\n", "sae is 3"),
        ("[subject]\ncontext = 1\n", "context is 1"),
        ("[corpus]\npaths = []\n", "paths is []"),
        ('[corpus]\nformat = "word"\n', "format is 'word'"),
        ("[analysis]\noutlier_multiple = 1\n", "outlier_multiple is 1"),
        ('[site]\nfeatures = "some"\n', "features is 'some'"),
        ("[site]\nfeatures = [1, -2]\n", "features is [1, -2]"),
        ("[site]\nnotes = true\n", "notes is True; use a string"),
        ("[site]\nexplanations = 3\n", "explanations is 3; use a string"),
        ('[site]\nauthors = "Ada"\n', "authors is 'Ada'; use a list of names"),
        ('[site]\nauthors = ["Ada", ""]\n', "use a list of names"),
        ('[site]\nauthors = ["A\\nda"]\n', "use a list of names"),
        ("[site]\nyear = 26\n", "year is 26; use a year"),
        ('[site]\nyear = "2026"\n', "year is '2026'; use a year"),
        ("[site]\nyear = true\n", "year is True; use a year"),
        ('[site]\nbase_url = "example.org"\n', "base_url is 'example.org'; use the address of a folder"),
        ("[site]\nbase_url = 3\n", "base_url is 3; use a string"),
        ('[site]\ntitle = "a\\u0000b"\n', "title is 'a\\x00b'; use a string of UTF-8 without a byte 0"),
        ("x = " + "[" * 10_000, "cannot be read"),
        ("x = " + "1" * 10_000, "cannot be read"),
    ],
)
def test_unfit_values(tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(CatalogError) as caught:
        load_config(write(tmp_path, content))
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="catalog file does not exist") as caught:
        load_config(tmp_path / "none.toml")
    assert "none.toml" in str(caught.value)


def test_override_replaces_only_what_is_given_and_checks_it() -> None:
    config = override(Config(), "analysis", top=3, strong=None)
    assert config.analysis.top == 3
    assert config.analysis.strong is Config().analysis.strong
    with pytest.raises(CatalogError, match="has an invalid value") as caught:
        override(Config(), "corpus", limit_tokens=0)
    assert "--limit-tokens 0" in str(caught.value)


def test_undecodable_bytes_of_an_argument_are_refused() -> None:
    with pytest.raises(CatalogError) as caught:
        override(Config(), "site", title="caf\udce9")
    assert "--title caf\\udce9" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [("[site]".encode("utf-16"), "is UTF-16"), (b"# \xff", "line 1"), (b"a\0", "byte 0")],
)
def test_a_file_in_another_encoding_is_refused_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "catalog.toml").write_bytes(content)
    with pytest.raises(CatalogError, match="catalog file") as caught:
        load_config(tmp_path / "catalog.toml")
    assert words in str(caught.value)


def test_a_byte_order_mark_before_the_settings_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "catalog.toml").write_bytes(b"\xef\xbb\xbf[site]\r\ntitle = 'x'\r\n")
    assert load_config(tmp_path / "catalog.toml").site.title == "x"


def test_a_model_folder_is_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "c.toml").write_text('[subject]\nmodel = "mine"\n', encoding="utf-8")
    assert load_config(tmp_path / "c.toml").subject.model == str(tmp_path / "mine")


@pytest.mark.parametrize("named", ["mine", "gpt2", "./mine", "deep/mine"])
@pytest.mark.parametrize("from_its_folder", [True, False])
def test_a_folder_beside_the_file_comes_before_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, from_its_folder: bool
) -> None:
    """Also if the folder is named like a model on the hub; a folder of that name elsewhere does not count."""
    (tmp_path / "project" / named).mkdir(parents=True)
    (tmp_path / "elsewhere" / named).mkdir(parents=True)
    (tmp_path / "project" / "c.toml").write_text(f'[subject]\nmodel = "{named}"\nsae = "{named}"\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path / ("project" if from_its_folder else "elsewhere"))
    file = Path("c.toml") if from_its_folder else tmp_path / "project" / "c.toml"
    subject = load_config(file).subject
    for name in (subject.model, subject.sae):
        assert Path(str(name)).resolve() == (tmp_path / "project" / named).resolve()


def test_a_name_without_a_folder_beside_the_file_is_left_to_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "gpt2").mkdir(parents=True)
    (tmp_path / "gpt2").write_text("a file", encoding="utf-8")
    path = write(tmp_path, '[subject]\nmodel = "gpt2"\nsae = "gpt2-small-res-jb/blocks.6.hook_resid_pre"\n')
    assert load_config(path).subject.model == "gpt2"
    assert load_config(path).subject.sae == "gpt2-small-res-jb/blocks.6.hook_resid_pre"
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("c.toml")).subject.model == "gpt2"


def test_paths_may_begin_with_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    (home / "model").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    content = (
        'cache = "~/cache"\n[subject]\nmodel = "~/model"\nsae = "~/none"\n'
        '[corpus]\npaths = ["~/texts", "hf:me/texts"]\nconcepts = "~/ideas"\n[site]\nout = "~/web"\nnotes = "~/said"\n'
    )
    config = load_config(write(tmp_path, content))
    assert config.cache == home / "cache"
    assert (config.subject.model, config.subject.sae) == (str(home / "model"), str(home / "none"))
    assert config.corpus.paths == (str(home / "texts"), "hf:me/texts")
    assert config.corpus.concepts == str(home / "ideas")
    assert (config.site.out, config.site.notes) == (str(home / "web"), str(home / "said"))


@pytest.mark.parametrize("name", [" ", "a\nb", "\x1b[31ma", "a\0"])
def test_the_name_of_a_corpus_can_be_shown(name: str) -> None:
    with pytest.raises(CatalogError, match="invalid value"):
        override(Config(), "corpus", name=name)
    assert override(Config(), "corpus", name="").corpus.name == ""
