"""What is reused is what was asked for: after a change of any input, a build with a used cache makes the same site.

The same, byte for byte, as a build with an empty cache.

Every setting and every file that is loaded has a row. A setting or a file without one fails the test of completeness.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from conftest import SaeKind
from safetensors.numpy import load_file, save_file

from saecatalog.build import build
from saecatalog.cache import CHECKSUMS, checksums, sealed
from saecatalog.config import SECTIONS, AnalysisConfig, Config, CorpusConfig, SiteConfig, SubjectConfig
from saecatalog.progress import Progress

ROOT = Path(__file__).parent.parent
Edit = Callable[[Path], None]


@dataclass(frozen=True)
class Row:
    """One changed input."""

    what: str
    """`section.setting`, or a file; further words say what is changed in it."""
    edit: Edit = lambda folder: None
    """Changes files in the folder that contains `model`, `sae`, `corpus`, `notes` and `templates`."""
    settings: tuple[tuple[str, Any], ...] = ()
    same: bool = False
    """Whether the site stays as it is."""


def setting(name: str, value: object, same: bool = False, edit: Edit = lambda folder: None) -> Row:
    return Row(name, edit, ((name, value),), same)


def in_json(file: str, *keys: str, value: object) -> Row:
    """A changed value of a JSON file."""

    def edit(folder: Path) -> None:
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        place = content
        for key in keys[:-1]:
            place = place[key]
        assert place.get(keys[-1]) != value
        place[keys[-1]] = value
        rewrite(folder / file, json.dumps(content).encode())

    return Row(f"{file} {'.'.join(keys)}", edit)


def one_weight(file: str, tensor: str) -> Row:
    """One changed number among the weights; the file's size stays as it is, and the time that a program can set."""

    def edit(folder: Path) -> None:
        weights = load_file(folder / file)
        name = next(name for name in sorted(weights) if tensor in name)
        weights[name].ravel()[5] += 0.25
        save_file(weights, folder / "new", {"format": "pt"})
        rewrite(folder / file, (folder / "new").read_bytes())
        (folder / "new").unlink()

    return Row(file, edit)


def rewrite(path: Path, content: bytes) -> None:
    """Write a file and set its modification time back, as some tools for copying do."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def more(file: str, words: str) -> Edit:
    return lambda folder: rewrite(folder / file, (folder / file).read_bytes() + words.encode())


def in_front(file: str, words: str) -> Edit:
    return lambda folder: rewrite(folder / file, words.encode() + (folder / file).read_bytes())


def tokenizer_merges(folder: Path) -> None:
    """The tokenizer no longer joins what it joined first, so that texts are cut differently."""
    content = json.loads((folder / "model/tokenizer.json").read_text(encoding="utf-8"))
    content["model"]["merges"] = content["model"]["merges"][40:]
    rewrite(folder / "model/tokenizer.json", json.dumps(content).encode())


def other_sae(folder: Path) -> None:
    shutil.copytree(folder / "sae", folder / "sae-2")


def other_model(folder: Path) -> None:
    shutil.copytree(folder / "model", folder / "model-2")
    one_weight("model-2/model.safetensors", "layers.0").edit(folder)


def jsonl(folder: Path) -> None:
    record = {"text": "The cat.", "body": "A dog ran.", "category": "one", "kind": "two"}
    record |= {"title": "Cats", "heading": "Dogs", "url": "https://a.example/", "source": "https://b.example/"}
    (folder / "records.jsonl").write_text(json.dumps(record) + "\n", encoding="utf-8")


RECORDS = ("corpus.paths", ("corpus", "records.jsonl"))
ROWS = [
    setting("subject.sae", "sae-2", edit=other_sae),
    setting("subject.model", "model-2", edit=other_model),
    setting("subject.device", "auto", same=True),
    setting("subject.dtype", "bfloat16"),
    setting("subject.context", 7),
    setting("subject.overlap", 3),
    setting("subject.batch_tokens", 32, same=True),
    Row(
        "subject.trust_remote_code",
        lambda folder: (folder / "model" / "own.py").touch(),
        (("subject.trust_remote_code", True), ("subject.model", "model")),
    ),
    setting("corpus.paths", ("corpus/prose.txt", "corpus/single.txt")),
    setting("corpus.format", "files"),
    setting("corpus.concepts", "none"),
    Row("corpus.text_field", jsonl, (RECORDS, ("corpus.text_field", "body"))),
    Row("corpus.category_field", jsonl, (RECORDS, ("corpus.category_field", "kind"))),
    Row("corpus.title_field", jsonl, (RECORDS, ("corpus.title_field", "heading"))),
    Row("corpus.link_field", jsonl, (RECORDS, ("corpus.link_field", "source"))),
    Row("corpus.chat_field", jsonl, (RECORDS, ("corpus.chat_field", "talk"))),
    setting("corpus.name", "Mine"),
    setting("corpus.special_tokens", True),
    setting("corpus.limit_tokens", 60),
    setting("corpus.seed", 1, same=True),
    setting("analysis.text_score", "mean"),
    setting("analysis.strong", 0.5),
    setting("analysis.top", 3),
    setting("analysis.notable", 2),
    setting("analysis.outlier_multiple", 1.5),
    setting("site.title", "Another title"),
    setting("site.description", "Another description."),
    setting("site.authors", ("Ada Lovelace",)),
    setting("site.year", 2026),
    setting("site.out", "elsewhere", same=True),
    setting("site.features", (3, 4)),
    setting("site.base_url", "https://example.org/catalog/"),
    setting("site.csv", True),
    setting("site.live", True),
    setting("site.live_limit_mb", 1.0, same=True),
    setting("site.notes", ""),
    setting("site.explanations", "explanations.jsonl", edit=lambda folder: explained(folder)),
    setting("site.explanations", "", same=True),
    setting("effects.features", "notable"),
    setting("effects.features", "all"),
    Row("effects.contexts", lambda folder: None, (("effects.features", "notable"), ("effects.contexts", 8))),
    Row("effects.prompts", lambda folder: None, (("effects.features", "notable"), ("effects.prompts", ["The cat"]))),
    Row("effects.multiples", lambda folder: None, (("effects.features", "notable"), ("effects.multiples", [1.5]))),
    Row("effects.seed", lambda folder: None, (("effects.features", "notable"), ("effects.seed", 1))),
    setting("machines.engine", "threads", same=True),
    setting("machines.storage", "shared", same=True),
    # `test_ray.py` has builds with workers.
    *(
        Row(f"machines.{name}", settings=((f"machines.{name}", value), ("machines.engine", "threads")), same=True)
        for name, value in (("address", "auto"), ("workers", 2), ("gpus_per_worker", 1.0))
    ),
    setting("site.templates", "templates-2", edit=lambda folder: other_templates(folder)),
    in_json("model/config.json", "rms_norm_eps", value=0.25),
    in_json("model/config.json", "rope_parameters", "rope_theta", value=50.0),
    Row("model/generation_config.json", more("model/generation_config.json", " "), same=True),
    Row("model/tokenizer.json merges", tokenizer_merges),
    in_json("model/tokenizer_config.json", "bos_token", value="!"),
    one_weight("model/model.safetensors", "layers.0"),
    in_json("sae/cfg.json", "apply_b_dec_to_input", value=False),
    in_json("sae/cfg.json", "normalize_activations", value="layer_norm"),
    in_json("sae/cfg.json", "metadata", "context_size", value=9),
    in_json("sae/cfg.json", "metadata", "prepend_bos", value=False),
    in_json("sae/cfg.json", "metadata", "neuronpedia_id", value="tiny/0-res"),
    in_json("sae/cfg.json", "metadata", "hook_name", value="blocks.1.hook_resid_pre"),
    one_weight("sae/sae_weights.safetensors", "W_dec"),
    Row("corpus/prose.txt", more("corpus/prose.txt", "One cat more.\n")),
    Row("concepts/animals.txt", more("concepts/animals.txt", "One cat more.\n")),
    Row("corpus/prose.txt with an empty line in front", in_front("corpus/prose.txt", "\n")),
    Row("concepts/animals.txt with an empty line in front", in_front("concepts/animals.txt", "\n")),
    Row("notes/index.md", more("notes/index.md", "One line more.\n")),
    Row("templates/index.html", more("templates/index.html", "<!-- one line more -->")),
]


def explained(folder: Path) -> None:
    """An explanation of a feature of the SAE, which is not on Neuronpedia and so goes by its folder's name."""
    info = json.loads(next((folder / "used" / "subject").glob("*/info.json")).read_text(encoding="utf-8"))
    model, _, layer = info["slug"].partition("/")
    row = {"modelId": model, "layer": layer, "index": "3", "description": "cats", "typeName": None}
    (folder / "explanations.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")


def other_templates(folder: Path) -> None:
    shutil.copytree(folder / "templates", folder / "templates-2")
    more("templates-2/index.html", "<!-- one line more -->")(folder)


@pytest.fixture(scope="module")
def inputs(
    workshop: Path, models: Callable[[str], Path], saes: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with all inputs. The SAE's metadata names the model's folder."""
    folder = tmp_path_factory.mktemp("inputs") / "inputs"
    for name in ("corpus", "concepts"):
        shutil.copytree(workshop / name, folder / name)
    shutil.copytree(models("llama"), folder / "model")
    shutil.copytree(saes("llama", SaeKind("jumprelu")), folder / "sae")
    shutil.copytree(ROOT / "templates", folder / "templates")
    (folder / "notes").mkdir()
    (folder / "notes" / "index.md").write_text("A note.\n", encoding="utf-8")
    in_json("sae/cfg.json", "metadata", "model_name", value=str(folder / "model")).edit(folder)
    return folder


@pytest.fixture(scope="module")
def before(inputs: Path) -> dict[str, bytes]:
    """The site of the unchanged inputs. The cache of this build and of those of earlier rows is used by all rows."""
    shutil.copytree(inputs, inputs.with_name("as-they-were"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(inputs)
        return run(inputs, None, "used")


@pytest.fixture
def folder(inputs: Path, before: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the inputs, for a row to edit."""
    monkeypatch.chdir(inputs)
    yield inputs
    for path in inputs.iterdir():
        if path.name != "used":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(inputs.with_name("as-they-were"), inputs, dirs_exist_ok=True)


def run(folder: Path, row: Row | None, cache: str, out: str = "site") -> dict[str, bytes]:
    """The files of a site built with a row's settings."""
    config = Config(
        SubjectConfig(sae="sae", device="cpu"),
        CorpusConfig(paths=("corpus",), concepts="concepts"),
        AnalysisConfig(notable=6),
        SiteConfig(notes="notes", templates="templates", out=out),
        cache=folder / cache,
    )
    for name, value in row.settings if row else ():
        section, _, key = name.partition(".")
        config = replace(config, **{section: replace(getattr(config, section), **{key: value})})
    if config.site.out != out:
        config = replace(config, site=replace(config.site, out=f"{out}-{config.site.out}"))
    build(config, Progress(quiet=True))
    site = Path(config.site.out)
    return {path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*") if path.is_file()}


def test_every_setting_and_every_loaded_file_has_a_row(inputs: Path) -> None:
    settings = {f"{section}.{field.name}" for section, default in SECTIONS.items() for field in fields(default)}
    loaded = {f"{part}/{path.name}" for part in ("model", "sae") for path in (inputs / part).iterdir()}
    assert settings | loaded <= {row.what.partition(" ")[0] for row in ROWS}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_changed_input_changes_the_site_as_with_an_empty_cache(
    folder: Path, before: dict[str, bytes], row: Row
) -> None:
    make_old(folder)
    row.edit(folder)
    found = run(folder, row, "used", "changed")
    assert found == run(folder, row, "fresh", "fresh-site")
    assert (found == before) is row.same


def make_old(folder: Path) -> None:
    """Let the files of all models look old to the cache: the content of those just written is compared in any case."""
    for record in (folder / "used" / "subject").glob("*/files.json"):
        content = json.loads(record.read_text(encoding="utf-8"))
        content["loaded_at"], content["recent"] = content["loaded_at"] + 10**10, {}
        record.write_text(json.dumps(content), encoding="utf-8")
        record.with_name(CHECKSUMS).unlink()
        sums = checksums(record.parent)
        record.with_name(CHECKSUMS).write_text(json.dumps(sealed(sums)), encoding="utf-8")


NAMED = """
from saecatalog.config import SubjectConfig
from saecatalog.lazy_subject import named

print(named(SubjectConfig()))
"""


@cache
def named(*more: tuple[str, str]) -> str:
    """What a process with more variables in its environment takes the default name for."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE", "XDG_"))}
    said = subprocess.run([sys.executable, "-c", NAMED], env={**plain, **dict(more)}, capture_output=True, text=True)
    assert said.stdout, said.stderr
    return said.stdout


@pytest.mark.parametrize(
    "variable", ["HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT"]
)
def test_a_name_on_the_hub_means_what_the_environment_says(tmp_path: Path, variable: str) -> None:
    assert named() != named((variable, str(tmp_path)))
