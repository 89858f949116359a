"""The command `explain`: a built catalog and an endpoint flow in, a file of explanations with their scores flows out.

The file has the form in which Neuronpedia publishes explanations, one object a line, so that `build --explanations`
reads it; `judged.FIELD` holds the score. It is written whole, at the end.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from saecatalog.cache import Cache
from saecatalog.errors import CatalogError
from saecatalog.explain import prompts
from saecatalog.explain.answers import Answers
from saecatalog.explain.endpoint import Client, Messages
from saecatalog.explain.judging import cases
from saecatalog.explain.plan import Part, Plan
from saecatalog.explain.work import Fields, Job, Work, explained
from saecatalog.judged import FIELD, Judged, basis_of, field_of, field_without
from saecatalog.progress import Progress
from saecatalog.stage_keys import digest
from saecatalog.write_errors import writing

KEPT = "answers"
"""The stage of the cache with what endpoints answered."""
NO_EXAMPLE = "features without an example in the first half of the texts"
EMPTY = "features about which the model's answer was empty"
COMPARED = {
    "balanced_accuracy": "explanations",
    "control_accuracy": "explanations of other features",
    "label_accuracy": "rules of labels",
}
"""The figures of a score that the summary tells the means of."""

Score = Judged | str
"""A score, or why there is none."""


@dataclass(frozen=True)
class Summary:
    """The result of a run."""

    out: Path
    judge: str
    rows: int
    judged: tuple[Judged, ...]
    left_out: Mapping[str, int]
    """How many have no explanation, or no score, by the reason."""
    prompt_tokens: int
    answer_tokens: int

    def lines(self) -> Iterator[str]:
        """How many explanations there are, how good, and what they cost."""
        yield f"Wrote {self.rows:,} explanations to {self.out}; {self.judge} judged {len(self.judged):,} of them."
        figures = [one.figures() for one in self.judged]
        for name, words in COMPARED.items():
            found = [value for row in figures if (value := row[name]) is not None]
            if found:
                yield f"  mean balanced accuracy of {words}: {sum(found) / len(found):.3f} (n = {len(found):,})"
        for reason, n in self.left_out.items():
            yield f"  left out: {n:,} ({reason})"
        if self.prompt_tokens:
            yield f"  the endpoint counts {self.prompt_tokens:,} tokens of questions, {self.answer_tokens:,} of answers"


def explain(job: Job, agree: Callable[[Plan], bool], progress: Progress) -> Summary | None:
    """Ask for explanations and have them judged; None if `agree`, which is shown the plan, does not agree.

    Raises CatalogError for a catalog or a file that cannot be read, and if the endpoint fails; what it answered until
    then is kept, and the same call goes on from there.
    """
    work = Work(job)
    with Cache(job.cache) as cache, cache.collection(KEPT, digest(job.endpoint.address, job.endpoint.model)) as folder:
        answers = Answers(folder)
        plan = plan_of(work, answers)
        if not agree(plan):
            return None
        with Client(job.endpoint) as client, progress.bar("explain", plan.requests, " answers") as bar:
            return _finish(work, answers, lambda questions: answers.ask(client, questions, bar.update))


def plan_of(work: Work, answers: Answers) -> Plan:
    """What would be asked; explanations that are not there yet are taken to be of a typical length."""
    asked = work.questions()
    known = {feature: answers.get(question) or f"{feature}: {prompts.TYPICAL}" for feature, question in asked.items()}
    rows = work.rows({feature: prompts.description_in(answer) for feature, answer in known.items()})
    tried = cases([explained(row) for row in rows], work.samples)
    parts = {
        "explaining": list(asked.values()),
        "judging": [case.question for case in tried],
        "judging explanations of other features, as a control": [
            case.control_question for case in tried if case.control >= 0
        ],
    }
    first = next((questions[0] for questions in parts.values() if questions), None)
    found = tuple(Part.of(name, questions, answers) for name, questions in parts.items() if questions)
    return Plan(work.job.endpoint, str(work.manifest["corpus"]["name"]), found, first)


Ask = Callable[[Sequence[Messages]], list[str]]


def _finish(work: Work, answers: Answers, ask: Ask) -> Summary:
    """Ask everything, and write the file."""
    job, asked = work.job, work.questions()
    descriptions = dict(zip(asked, map(prompts.description_in, ask(list(asked.values()))), strict=True))
    rows = work.rows(descriptions)
    if not rows:
        what = "The model explained none of the features." if asked else "None of the features has an example."
        raise CatalogError(what, f"--model {job.endpoint.model}", "Choose other features, or another model.")
    scores = _scores(work, [explained(row) for row in rows], ask)
    basis = basis_of(work.manifest)
    _write(job.out, [_with_score(row, scores.get(explained(row)), basis) for row in rows])
    left_out = Counter(score for score in scores.values() if isinstance(score, str))
    if not job.given:
        left_out += Counter({NO_EXAMPLE: len(work.features) - len(asked), EMPTY: len(asked) - len(rows)})
    judged = tuple(score for score in scores.values() if isinstance(score, Judged))
    spent = answers.prompt_tokens, answers.answer_tokens
    return Summary(job.out, job.endpoint.model, len(rows), judged, left_out, *spent)


def _scores(work: Work, explanations: Sequence[tuple[int, str]], ask: Ask) -> dict[tuple[int, str], Score]:
    """The score of each explanation of a chosen feature, by the feature and the description."""
    tried = cases(explanations, work.samples)
    compared = [case for case in tried if case.control >= 0]
    answered = iter(ask([case.question for case in tried] + [case.control_question for case in compared]))
    own = [next(answered) for _ in tried]
    control = [next(answered) if case.control >= 0 else "" for case in tried]
    scores: dict[tuple[int, str], Score] = {
        (feature, words): work.without[feature] for feature, words in explanations if words and feature in work.without
    }
    judge = work.job.endpoint.model
    return scores | {
        (case.feature, case.description): case.judged(judge, answer, other, work.by_label.get(case.feature))
        for case, answer, other in zip(tried, own, control, strict=True)
    }


def _with_score(row: Fields, score: Score | None, basis: Mapping[str, str]) -> Fields:
    """A row with its score in the place of an older one; a row that was not to be judged stays as it is."""
    if score is None:
        return row
    found = field_without(score) if isinstance(score, str) else field_of(score, explained(row)[1], basis)
    return {**row, FIELD: found}


def _write(out: Path, rows: Sequence[Fields]) -> None:
    """Write the file in one step."""
    new = out.with_name(f"{out.name}.new")
    with writing(out.parent, "--out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
            new.replace(out)
        finally:
            new.unlink(missing_ok=True)
