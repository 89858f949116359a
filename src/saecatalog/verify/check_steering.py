"""Checks of steering and attribution for a few of the sampled features, by whole passes of plain `transformers`."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from saecatalog.effects.neutral import TEXT
from saecatalog.verify.ablation import contribution, log_probabilities, token_losses
from saecatalog.verify.check_features import sampled
from saecatalog.verify.evidence import Evidence
from saecatalog.verify.model import window_values
from saecatalog.verify.published import Row, rows_of

STEERED = 2
"""Features whose steering is recomputed: every one takes dozens of passes."""

NEAR = 1e-3
"""Log probabilities this close may be in another order here."""


def check_steering(e: Evidence) -> None:
    """The next tokens after each prompt, and one continuation, without steering and with it."""
    if not _can_be_steered(e):
        return
    prompts = {row.prompt: row for row in rows_of(e.published["steering_prompts"])}
    maxima = dict(zip(e.published["features"]["feature"], e.published["features"]["max"], strict=True))
    for prompt, row in prompts.items():
        _check_written(e, f"prompt {prompt}", "steering_prompts", row, row, 0, 0.0)
    found = [(feature, rows) for feature, _, rows in sampled(e, "steering") if rows]
    for feature, rows in found[:STEERED]:
        for row in rows:
            strength = float(row.multiple) * float(maxima[feature])
            where = f"feature {feature}, {row.multiple:g}, prompt {row.prompt}"
            _check_written(e, where, "steering", row, prompts[row.prompt], feature, strength)


def _check_written(e: Evidence, where: str, table: str, row: Row, prompt: Row, feature: int, strength: float) -> None:
    """The next tokens after a prompt and, for the first prompt, the greedy continuation."""
    at, runner = e.report.at(table, where), e.runner
    start = ([] if runner.bos is None else [runner.bos]) + runner.token_ids(prompt.text)

    def after(ids: list[int]) -> Float64[np.ndarray, "d_vocab"]:
        return _after(e, ids, feature, strength)

    found = after(start)
    best = np.sort(np.exp(found))[::-1]
    for place, (token, p) in enumerate(zip(row.next_tokens, row.next_probs, strict=True)):
        at.close("next_probs", float(p), float(best[place]), 2e-3, 1e-6)
        near = np.flatnonzero(np.abs(np.exp(found) - best[place]) <= 2e-3 * best[place] + 1e-6)
        at.holds(token in {e.token(i) for i in near.tolist()}, "next_tokens", f"'{token}' is not number {place}")
    if row.prompt == 0:
        at.holds(_continues(e, after, start, row.continuation), "continuation", "is not the greedy one")


def check_prices(e: Evidence) -> None:
    """The loss on the neutral text without steering, and with it for a few features."""
    if not _can_be_steered(e):
        return
    maxima = dict(zip(e.published["features"]["feature"], e.published["features"]["max"], strict=True))
    bos = [] if e.runner.bos is None else [e.runner.bos]
    # A model with a short context reads the beginning only.
    most = getattr(e.runner.model.config.get_text_config(), "max_position_embeddings", None)
    ids = (bos + e.runner.token_ids(TEXT))[:most]
    found = [(feature, rows) for feature, _, rows in sampled(e, "steering_prices") if rows]
    alone = _neutral_loss(e, ids, 0, 0.0) if found else 0.0
    for place, (feature, rows) in enumerate(found):
        for row in rows:
            at = e.report.at("steering_prices", f"feature {feature}, {row.multiple:g}")
            at.same("n_tokens", row.n_tokens, len(ids) - 1)
            at.close("loss_unsteered", row.loss_unsteered, alone, 1e-3)
            if place < STEERED:
                strength = float(row.multiple) * float(maxima[feature])
                at.close("loss", row.loss, _neutral_loss(e, ids, feature, strength), 2e-3)


def _neutral_loss(e: Evidence, ids: list[int], feature: int, strength: float) -> float:
    """The mean loss on a text in nats, with a feature's direction added at every token before the one predicted."""
    hook = e.runner.hooks[-1].source
    return float(np.mean(token_losses(e.runner.model, hook, ids, _removed(e, ids, feature, strength))))


def _after(e: Evidence, ids: list[int], feature: int, strength: float) -> Float64[np.ndarray, "d_vocab"]:
    """The log probability of every token after some, with a feature's direction added at each of these."""
    hook = e.runner.hooks[-1].source
    return log_probabilities(e.runner.model, hook, ids, _removed(e, ids, feature, strength))


def _removed(e: Evidence, ids: list[int], feature: int, strength: float) -> Float64[np.ndarray, "position d_out"]:
    """What is subtracted at the hook at each token to add a feature's direction."""
    runner = e.runner
    read = next(window_values(runner.model, [runner.hooks[-1].source], ids, len(ids), None))[0]
    return -contribution(runner.sae, read, feature, np.full(len(ids), strength))


def _can_be_steered(e: Evidence) -> bool:
    return bool(e.settings["dtype"] == "float32" and not e.runner.hooks[-1].centred and e.runner.writes_to_stream)


def _continues(
    e: Evidence, after: Callable[[list[int]], Float64[np.ndarray, "d_vocab"]], start: list[int], text: str
) -> bool:
    """Whether a text is written by always taking the most probable token, or one as probable."""
    tokenizer = e.runner.tokenizer
    before = tokenizer.decode(start, skip_special_tokens=False)
    ids = list(start)
    while (written := tokenizer.decode(ids, skip_special_tokens=False).removeprefix(before)) != text:
        found = after(ids)
        near = np.flatnonzero(found >= found.max() - NEAR).tolist()
        fits = [i for i in near if _begins(text, tokenizer.decode([*ids, i], skip_special_tokens=False), before)]
        if not fits or len(written) > len(text) or len(ids) > len(start) + len(text.encode()):
            # Bytes without their character are written in another way, and such a text is not followed to its end.
            return "\ufffd" in written or "<0x" in text
        ids.append(fits[0])
    return True


def _begins(text: str, whole: str, before: str) -> bool:
    return text.startswith(whole.removeprefix(before).rstrip("\ufffd"))


def check_attributions(e: Evidence) -> None:
    """What is written out of each feature: order, shares, and the contributions of the embedding and of MLP layers."""
    contexts = {feature: rows for feature, _, rows in sampled(e, "contexts")}
    for feature, _, rows in sampled(e, "attributions"):
        top = [row for row in contexts[feature] if row.band == "top" and row.rank < 12]
        mean = float(np.mean([row.activation for row in top])) if top else 0.0
        sizes = [abs(row.contribution) for row in rows]
        at = e.report.at("attributions", f"feature {feature}")
        at.lists("rank", [row.rank for row in rows], list(range(len(rows))))
        at.holds(sizes == sorted(sizes, reverse=True), "contribution", "is not in order of size")
        for row in rows:
            at.same("n_contexts", row.n_contexts, len(top))
            at.close("share", row.share, row.contribution / mean, 1e-5)
