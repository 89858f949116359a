"""Kept answers: questions flow in, the answers that a folder has or an endpoint gives flow out, each asked once.

An answer is written as soon as it is there, so a run that was interrupted goes on where it stopped.
"""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from saecatalog.explain.endpoint import Client, Messages, Reply
from saecatalog.stage_keys import digest

PARALLEL = 4
"""Questions on their way at the same time."""


@dataclass
class Answers:
    """The answers of one model at one endpoint, in a folder of their own; answers without words are not kept."""

    folder: Path
    prompt_tokens: int = field(default=0, init=False)
    answer_tokens: int = field(default=0, init=False)
    """Tokens of what was asked just now, as the endpoint counts them."""

    def get(self, messages: Messages) -> str | None:
        """The kept answer; None if there is none."""
        try:
            kept = json.loads(self._path(messages).read_text(encoding="utf-8"))
            return str(kept["answer"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def missing(self, questions: Sequence[Messages]) -> list[Messages]:
        """The questions without a kept answer, each once."""
        different = {digest(messages): messages for messages in questions}
        return [messages for messages in different.values() if self.get(messages) is None]

    def ask(self, client: Client, questions: Sequence[Messages], tick: Callable[[], object]) -> list[str]:
        """The answer to each question, "" for one without words; `tick` is called at each answer that comes in.

        Raises CatalogError for the first failure; what was answered before is kept.
        """
        with ThreadPoolExecutor(PARALLEL) as pool:
            running = {pool.submit(client.ask, messages): messages for messages in self.missing(questions)}
            try:
                for future in as_completed(running):
                    self._keep(running.pop(future), future.result())
                    tick()
            except BaseException:
                client.stop()
                pool.shutdown(cancel_futures=True)
                # What was on its way is answered by now.
                for future, messages in running.items():
                    if not future.cancelled() and not future.exception():
                        self._keep(messages, future.result())
                raise
        return [self.get(messages) or "" for messages in questions]

    def _keep(self, messages: Messages, reply: Reply) -> None:
        self.prompt_tokens += reply.prompt_tokens
        self.answer_tokens += reply.answer_tokens
        if reply.content.strip():
            path = self._path(messages)
            # In one step: half an answer would be taken for a whole one.
            path.with_suffix(".new").write_text(json.dumps({"answer": reply.content}), encoding="utf-8")
            path.with_suffix(".new").replace(path)

    def _path(self, messages: Messages) -> Path:
        return self.folder / f"{digest(messages)}.json"
