"""The tables about the weights against the lens they are made from."""

import itertools

from studies import LENS_ENTRIES, Study


def test_weight_tables(study: Study) -> None:
    lens = study.inputs.lens
    logits = study.table("logits").set_index(["feature", "direction", "rank"])
    neighbours = study.table("neighbours").set_index(["feature", "rank"])
    assert len(logits) == 2 * study.case.d_sae * LENS_ENTRIES
    for feature, rank in itertools.product(range(study.case.d_sae), range(LENS_ENTRIES)):
        for direction, ids, values in (
            ("promoted", lens.promoted_ids, lens.promoted_logits),
            ("suppressed", lens.suppressed_ids, lens.suppressed_logits),
        ):
            row = logits.loc[(feature, direction, rank)]
            token = int(ids[feature, rank])
            assert (row["token_id"], row["token"]) == (token, study.inputs.vocabulary[token])
            assert row["logit"] == values[feature, rank]
        row = neighbours.loc[(feature, rank)]
        assert row["neighbour"] == lens.neighbour_ids[feature, rank]
        assert row["cosine"] == lens.neighbour_cosines[feature, rank]
