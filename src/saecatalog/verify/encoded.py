"""The encoding of some rows by an SAE, with what is needed to tell which activations are too close to call."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

Rows = Float64[np.ndarray, "row feature"]


@dataclass(frozen=True)
class Encoded:
    """The encoding of some rows: three arrays `[row, feature]`."""

    values: Rows
    """The activation, if the feature is active."""
    margins: Rows
    """How far each feature is from its threshold, as a share of `sizes`: active above 0, silent below."""
    sizes: Rows
    """Norm of the row times norm of the encoder's column, plus the bias; rounding errors are proportional to it."""
