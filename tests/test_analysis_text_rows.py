"""The tables of texts against loops over dense arrays."""

from collections.abc import Callable

import numpy as np
import reference
from studies import Study, close

from saecatalog.verify import formulas
from saecatalog.verify.tokens import token_ends


def test_texts_table(study: Study, models: Callable) -> None:
    table = study.table("texts")
    assert table["text"].tolist() == study.case.text_ids
    for t, row in enumerate(table.itertuples()):
        text = study.inputs.texts[t]
        assert (row.category, row.source, row.content) == (text.category, text.source, text.content)
        assert row.n_tokens == len(study.case.tokens[t])
        assert row.n_excluded == sum(not k for k in study.keep[t])
        pieces = [reference.token_bytes(models(study.shape), i) for i in study.case.tokens[t]]
        assert list(row.token_ends) == token_ends(pieces, text.content)


def test_text_scores_table(study: Study) -> None:
    table = study.table("text_scores")
    where = {name: t for t, name in enumerate(study.case.text_ids)}
    found = {(where[r.text], r.feature): (r.score, r.position) for r in table.itertuples()}
    assert len(found) == len(table)
    assert set(found) == set(study.scores)
    for key, (score, position) in study.scores.items():
        assert found[key][1] == position
        close(found[key][0], score)
        if study.config.text_score != "mean":
            assert found[key][0] == score
    assert [study.case.categories[where[t]] for t in table["text"]] == table["category"].tolist()


def test_text_top_table(study: Study) -> None:
    table = study.table("text_top")
    matrix = study.matrix
    for t, name in enumerate(study.case.text_ids):
        rows = table[table["text"] == name]
        active = [f for f in range(study.case.d_sae) if matrix[t, f] > 0]
        wanted = formulas.ranked(active, lambda f, s=matrix[t]: (-s[f], f), 10)
        assert rows["feature"].tolist() == wanted
        assert rows["rank"].tolist() == list(range(len(wanted)))
        close(rows["score"], matrix[t, wanted])
        assert rows["position"].tolist() == [study.scores[t, f][1] for f in wanted]
        for row in rows.itertuples():
            values = study.case.activations[t][:, row.feature]
            assert list(row.active_positions) == np.flatnonzero(values).tolist()
            assert list(row.active_values) == values[values > 0].tolist()
