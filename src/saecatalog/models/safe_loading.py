"""What a model or an SAE may bring with it: finite numbers and settings. Code runs only if the user says so.

A pickle (`.bin`, `.pt`, `.ckpt`, ...) can run any code when it is opened, and a model can name Python files of its own
(`auto_map`) that `transformers` runs. The libraries decide in many places what to open and what to run, so the checks
are here, in one place for all of them. Of an SAE, a pickle is opened if it is proven to hold tensors only.
"""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

import numpy as np
from safetensors import SafetensorError

from saecatalog.config import DTYPES
from saecatalog.errors import CatalogError
from saecatalog.replacing import replaced
from saecatalog.saes.directory import SaeSource

if TYPE_CHECKING:
    import torch

HOOKED = "HookedTransformer"
"""The class that loads a model if an SAE's metadata names none."""

PROCESSING = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")
"""Changes that `HookedTransformer` can make to weights on loading; an SAE's metadata may name each as an argument."""

CORRECT = (
    "Correct model_from_pretrained_kwargs in the cfg.json of a copy of the SAE. If it chose another version of the "
    "model, save that version in a folder and add --model FOLDER."
)

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Endings of files that are pickles or archives of pickles."""

IF_TRUSTED = "If you trust its authors, convert it to safetensors: python -c "
CONVERT_MODEL = (
    f"{IF_TRUSTED}'from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
    '[c.from_pretrained("{0}").save_pretrained("FOLDER") for c in (M, T)]\' and use --model FOLDER.'
)
CONVERT_SAE = (
    f"{IF_TRUSTED}'from sae_lens import SAE; "
    'SAE.from_pretrained("{0}", "{1}").save_model("FOLDER")\' and use --sae FOLDER.'
)
CONVERT_TENSORS = (
    f'{IF_TRUSTED}\'import torch, safetensors.torch as s; s.save_file(torch.load("{{0}}"), "sae_weights.safetensors")\''
)
KEEP_TENSORS = (
    "If you trust its authors, copy the folder, and keep only the tensors in the copy: python -c 'import torch; "
    't = torch.load("{0}", weights_only=False); torch.save({{k: t[k] for k in t if torch.is_tensor(t[k])}}, "{0}")\''
)


@contextmanager
def only_data(where: str, convert: str, trust_remote_code: bool = False, tensors: bool = False) -> Iterator[None]:
    """While a library loads something: no pickle is opened, and no Python file that came with a model is run.

    With `tensors`, pickles of nothing but tensors are opened. `convert` says how to convert a pickle; "" stands for
    how to keep its tensors. Raises CatalogError if something was refused, even where the library went on without it.
    Arguments of the libraries do not suffice: transformer_lens opens pickles of some models without a question, itself
    sets `trust_remote_code` for others, and loads tokenizers a second time without any.
    """
    refused: list[CatalogError] = []

    def refuse(error: CatalogError) -> Never:
        refused.append(error)
        raise error

    try:
        with ExitStack() as stack:
            for module, name, value in _restrictions(where, convert, trust_remote_code, tensors, refuse):
                stack.enter_context(replaced(module, name, value))
            # Otherwise transformers asks a service of the Hub to convert a pickle, and waits for it.
            stack.enter_context(_environment("DISABLE_SAFETENSORS_CONVERSION", "1"))
            yield
    except CatalogError:
        raise
    except Exception as error:
        explained = refused[0] if refused else _explained(error, where, convert)
        if explained is None:
            raise
        raise explained from error
    if refused:
        raise refused[0]


def _restrictions(
    where: str, convert: str, trust_remote_code: bool, tensors: bool, refuse: Callable[[CatalogError], Never]
) -> Iterator[tuple[Any, str, Any]]:
    """What to put in the place of which part of the libraries while they load: module, name and value."""
    # Imported late: a build that loads nothing reads the constants of this module only.
    import torch
    import transformers.dynamic_module_utils as own_modules

    from saecatalog.saes.tensor_files import load_tensors

    # torch.load would read most of these files with its restricted unpickler (`weights_only`). That is not enough: the
    # unpickler had holes that ran code, one environment variable turns it off, and transformer_lens asks for the
    # unrestricted one, for models that it keeps in a format of its own.
    def load(file: Any = None, map_location: Any = "cpu", *_: object, weights_only: bool = True, **__: object) -> Any:
        if not tensors:
            refuse(pickle_error(where, convert if weights_only else "Use another model: this one cannot be converted."))
        name = Path(getattr(file, "name", file)).name
        try:
            return load_tensors(file, where, convert or KEEP_TENSORS.format(name), map_location)
        except CatalogError as error:
            refuse(error)

    yield torch, "load", load
    # Where transformers was not told whether to run code, it would ask on standard input for this many seconds.
    yield own_modules, "TIME_OUT_REMOTE_CODE", 0
    # transformer_lens would install packages for models that also read images, and goes on where it cannot.
    yield subprocess, "check_call", _start_nothing
    if not trust_remote_code:
        # All of a model's own files pass through this function, before any is run.
        yield own_modules, "create_dynamic_module", lambda *_: refuse(own_code_error(where))


def _start_nothing(*command: object, **_: object) -> Never:
    raise OSError(f"No program is started while a model is loaded: {command}")


def pickle_error(where: str, convert: str) -> CatalogError:
    return CatalogError("The weights are a pickle, which can run any code when it is opened.", where, convert)


def own_code_error(where: str) -> CatalogError:
    fix = "Read its Python files. If you trust them, name the model with --model and add --trust-remote-code."
    return CatalogError("This model needs code of its own, which is not run.", where, fix)


def _explained(error: Exception, where: str, convert: str) -> CatalogError | None:
    """The error of a library as one for users; None if it is not about code or the format of weights."""
    if isinstance(error, SafetensorError):
        what = "The weights are not in the format safetensors, whatever the file's name."
        return CatalogError(what, where, f"{convert} The library says: {_first_line(error)}")
    if isinstance(error, ValueError) and "trust_remote_code" in str(error):
        return own_code_error(where)
    if isinstance(error, ValueError) and "allow_pickle" in str(error):
        return pickle_error(where, convert)
    if isinstance(error, OSError) and "safetensors" in str(error):
        return CatalogError("There are no weights in the format safetensors; pickles are not opened.", where, convert)
    return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    original = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if original is None:
            del os.environ[name]
        else:
            os.environ[name] = original


# For a model and for an SAE


@contextmanager
def only_data_of_model(name: str, trust_remote_code: bool) -> Iterator[None]:
    """`only_data` for a model, a folder or a name on the Hub; a folder without safetensors is refused at once."""
    folder, convert = Path(name), CONVERT_MODEL.format(name)
    found = _pickles(folder)
    if found and not any(folder.glob("*.safetensors")):
        raise pickle_error(str(found[0]), convert)
    with only_data(f"--model {name}", convert, trust_remote_code):
        yield


@contextmanager
def only_data_of_sae(source: SaeSource) -> Iterator[None]:
    """`only_data` for an SAE, whose pickles are opened if they hold tensors only."""
    # Repositories and folders are named with `/`; releases, which sae_lens can save anew, are not.
    of_release = source.folder is None and "/" not in source.release
    convert = CONVERT_SAE.format(source.release, source.id) if of_release else ""
    with only_data(f"--sae {source.name}", convert, tensors=True):
        yield


def _pickles(folder: Path) -> list[Path]:
    """The pickles in a folder; none if there is no such folder."""
    return sorted(path for path in folder.glob("*") if path.suffix in PICKLES)


# After loading


def code_files(places: Iterable[Path]) -> list[Path]:
    """The Python files of a model, which may have run: those in its folder and below."""
    return sorted(file for place in places if place.is_dir() for file in place.rglob("*.py"))


def sha256_with_code(weights: str, code: list[Path]) -> str:
    """The SHA-256 of a model whose code may have run: that of its weights, and of its Python files if there are any."""
    digest = hashlib.sha256(weights.encode())
    for file in code:
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest() if code else weights


def check_finite(sae: "torch.nn.Module", where: str) -> None:
    """Raise CatalogError, with tensor and place, if a weight of an SAE is NaN or infinite."""
    for name, tensor in sae.state_dict().items():
        bad = ~tensor.isfinite()
        if bad.any():
            first = np.unravel_index(int(bad.flatten().byte().argmax()), bad.shape)
            place = ", ".join(map(str, first))
            what = (
                f"{int(bad.sum()):,} of the SAE's weights are not finite: '{name}[{place}]' is {tensor[first].item()}."
            )
            raise CatalogError(what, where, "Use another copy of the SAE: this one is damaged or its training failed.")


# Arguments for the model's loader


def model_arguments(metadata: Any, dtype: str, where: str) -> dict[str, bool]:
    """The arguments in an SAE's metadata that change the model, all of them checked.

    Raises CatalogError for any name that is not known to be harmless, for a value of the wrong type, and for a setting
    that could not be obeyed.
    """
    given = metadata.model_from_pretrained_kwargs or {}
    if not isinstance(given, Mapping):
        raise CatalogError("The SAE's model_from_pretrained_kwargs are not a table.", where, f"They are: {given!r}.")
    processed = (metadata.model_class_name or HOOKED) == HOOKED
    for name, value in given.items():
        problem, fix = _problem(str(name), value, processed, dtype)
        if problem:
            what = f"The SAE's metadata asks for a model loaded with {name}={value!r}: {problem}."
            raise CatalogError(what, where, fix or CORRECT)
    return {name: value for name, value in given.items() if name in PROCESSING and processed}


def _problem(name: str, value: object, processed: bool, dtype: str) -> tuple[str, str]:
    """Why an argument is refused, and what to do about it if that is not `CORRECT`; "" if there is nothing to say."""
    if name in PROCESSING:
        if not isinstance(value, bool):
            return "it must be true or false", ""
        return ("only HookedTransformer, which it does not name, does this" if value and not processed else ""), ""
    if name in ("dtype", "torch_dtype"):
        wanted = str(value).removeprefix("torch.")
        if wanted not in DTYPES:
            return f"it must be one of {', '.join(DTYPES)}", ""
        return ("", "") if wanted == dtype else (f"this run uses {dtype}", f"Add --dtype {wanted}.")
    if name == "n_devices":
        return ("" if value == 1 and not isinstance(value, bool) else "only one device is used here"), ""
    return f"only {', '.join((*PROCESSING, 'dtype', 'torch_dtype', 'n_devices'))} are allowed", ""
