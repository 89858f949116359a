"""The decoders of a comparison: from the SAE's own files, only if they are those of the catalog."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SaeKind
from safetensors.numpy import load_file

from saecatalog.cache import Cache
from saecatalog.compare.decoders import decoder, why_not_one_space
from saecatalog.errors import CatalogError
from saecatalog.models.fingerprints import weights_sha256
from saecatalog.saes.directory import find_sae
from saecatalog.saes.folders import load_sae
from saecatalog.verify.runner import load_decoder

HOOK = "blocks.2.hook_resid_pre"


def manifest(folder: Path, sha256: str) -> dict[str, Any]:
    return {"sae": {"name": str(folder), "weights_sha256": sha256}}


def test_the_decoder_is_that_of_the_files_and_is_kept(saes: Callable[..., Path], tmp_path: Path) -> None:
    folder = saes("llama", SaeKind())
    stated = manifest(folder, weights_sha256(load_sae(find_sae(str(folder)), "cpu")))
    (file,) = folder.glob("*.safetensors")
    with Cache(tmp_path / "cache") as cache:
        found = np.array(decoder(stated, cache))
        np.testing.assert_array_equal(found, load_file(file)["W_dec"])
        np.testing.assert_array_equal(found, load_decoder(stated))
        gone = manifest(tmp_path / "gone", stated["sae"]["weights_sha256"])
        np.testing.assert_array_equal(found, decoder(gone, cache))


def test_another_sae_in_the_place_is_refused(saes: Callable[..., Path], tmp_path: Path) -> None:
    stated = manifest(saes("llama", SaeKind()), "of another one")
    with Cache(tmp_path / "cache") as cache, pytest.raises(CatalogError, match="not the one"):
        decoder(stated, cache)
    with pytest.raises(CatalogError, match="not the one"):
        load_decoder(stated)


@pytest.mark.parametrize(
    ("hooks", "widths", "streams", "wanted"),
    [
        ((HOOK, HOOK), (8, 8), False, ""),
        ((HOOK, "blocks.9.hook_resid_post"), (8, 8), True, ""),
        ((HOOK, "blocks.2.attn.hook_z"), (8, 8), False, "not both in the residual stream"),
        ((HOOK, HOOK), (8, 16), True, "their widths differ"),
    ],
)
def test_rows_are_compared_only_in_one_space(
    hooks: tuple[str, str], widths: tuple[int, int], streams: bool, wanted: str
) -> None:
    first, second = ({"sae": {"hook_out": h, "d_out": w}} for h, w in zip(hooks, widths, strict=True))
    found = why_not_one_space(first, second, streams)
    assert wanted in found
    assert bool(wanted) == bool(found)
