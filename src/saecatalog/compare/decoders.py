"""The decoders of two SAEs, if their rows are directions of one space.

Manifests flow in; decoder rows flow out, or the reason why their cosines would mean nothing. They are not part of a
published catalog, so they come from the cache or from the SAE's own files.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from saecatalog.cache import Cache
from saecatalog.errors import CatalogError
from saecatalog.manifest import Manifest
from saecatalog.saes.directory import find_sae
from saecatalog.stage_keys import stage_key

DECODER = "decoder.npy"


def why_not_one_space(first: Manifest, second: Manifest, both_write_to_stream: bool) -> str:
    """Why decoder rows of the two SAEs cannot be compared; "" if they can.

    All layers read and write one residual stream, so rows of SAEs at different layers are comparable there; elsewhere
    only rows at the same hook are.
    """
    hooks = [manifest["sae"]["hook_out"] for manifest in (first, second)]
    widths = [manifest["sae"]["d_out"] for manifest in (first, second)]
    if widths[0] != widths[1]:
        return f"their widths differ ({widths[0]:,} and {widths[1]:,})"
    if hooks[0] != hooks[1] and not both_write_to_stream:
        return f"{hooks[0]} and {hooks[1]} are not both in the residual stream"
    return ""


def decoder(manifest: Manifest, cache: Cache) -> Float32[np.ndarray, "feature d_out"]:
    """The decoder rows of a catalog's SAE, with one row per feature.

    Raises CatalogError if the SAE is not where the manifest says, or is another one now.
    """
    name, wanted = str(manifest["sae"]["name"]), str(manifest["sae"]["weights_sha256"])

    def make(folder: Path) -> None:
        # Imported late, because it loads torch.
        from saecatalog.models.fingerprints import weights_sha256
        from saecatalog.saes.folders import load_sae

        sae = load_sae(find_sae(name), "cpu")
        if weights_sha256(sae) != wanted:
            what = "The SAE here is not the one that the catalog was built from."
            raise CatalogError(what, name, "Build the catalog again.")
        np.save(folder / DECODER, sae.W_dec.detach().float().numpy())

    made = cache.output("decoders", stage_key("saecatalog.compare.decoders", wanted), make)
    rows: Float32[np.ndarray, "feature d_out"] = np.load(made.file(DECODER), mmap_mode="r")
    return rows
