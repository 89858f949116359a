"""What a run would send: questions and kept answers flow in, numbers of requests and of tokens flow out, in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from saecatalog.explain import prompts
from saecatalog.explain.answers import Answers
from saecatalog.explain.endpoint import MOST_TOKENS, Endpoint, Messages


@dataclass(frozen=True)
class Part:
    """Questions of one kind."""

    name: str
    questions: int
    requests: int
    """Those without a kept answer; they are sent."""
    tokens: int
    """Of the requests, about."""

    @classmethod
    def of(cls, name: str, questions: Sequence[Messages], answers: Answers) -> "Part":
        missing = answers.missing(questions)
        return cls(name, len(questions), len(missing), sum(map(prompts.tokens, missing)))


@dataclass(frozen=True)
class Plan:
    """What a run would send, and where."""

    endpoint: Endpoint
    corpus: str
    parts: tuple[Part, ...]
    first: Messages | None
    """A question as it would be sent; None if nothing is to be asked."""

    @property
    def requests(self) -> int:
        return sum(part.requests for part in self.parts)

    @property
    def tokens(self) -> int:
        return sum(part.tokens for part in self.parts)

    def lines(self) -> Iterator[str]:
        """The first question in full, then what is sent and how much."""
        if self.first:
            yield "The first question:"
            yield ""
            yield from (f"  | {line}" for message in self.first for line in message["content"].splitlines())
            yield ""
        yield f"To {self.endpoint.address}, model {self.endpoint.model}:"
        for part in self.parts:
            kept = f", {part.questions - part.requests:,} answered before" if part.questions > part.requests else ""
            yield f"  {part.name}: {part.requests:,} requests with about {part.tokens:,} tokens{kept}"
        most = self.requests * MOST_TOKENS
        yield f"  together: {self.requests:,} requests with about {self.tokens:,} tokens; answers of at most {most:,}"
        yield "  (counted as one token for four bytes; a model's own tokens may be a third more or fewer)"
        if self.requests:
            yield f"The questions hold excerpts of your texts ({self.corpus}). Whoever runs that address can read them."
        if self.requests and self.endpoint.in_clear:
            yield "They are not encrypted on their way (http://), and nor is a key."
