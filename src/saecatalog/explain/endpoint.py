"""An OpenAI-compatible endpoint: chat messages flow out, the text of the answer flows in, or one clear error.

A busy endpoint is asked again after a pause, or after the time it names. The key goes into one header and nowhere else.
"""

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import orjson

from saecatalog.errors import CatalogError
from saecatalog.texts.text_files import printable

Messages = list[dict[str, str]]
"""The turns of a chat, each with a `role` and a `content`."""

TRIES = 4
"""How often an endpoint that is busy or fails is asked."""
TRIES_SLOW = 2
"""How often an endpoint that does not answer in time is asked."""
CONNECT = 10.0
"""Seconds for a connection."""
BUSY = (408, 409, 429, 500, 502, 503, 504, 529)
LONGEST_WAIT = 60.0
"""Seconds; an endpoint that asks for a longer pause is an error that says so."""
LARGEST = 1 << 20
"""Bytes of an answer; a longer one is no answer to these questions."""
MOST_TOKENS = 1000
"""Tokens of an answer, those of a model's reasoning included."""
QUOTED = 160
"""Characters of an endpoint's words in an error."""


@dataclass(frozen=True)
class Endpoint:
    """Where a model is, and how long to wait for it."""

    url: str
    """The base address, such as `https://api.openai.com/v1`."""
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 120.0
    """Seconds for one answer."""
    pause: float = 1.0
    """Seconds before the second try; each further pause is twice as long."""

    def __post_init__(self) -> None:
        fix = "Give the base address of an OpenAI-compatible API, such as http://localhost:8000/v1."
        try:
            parts = urlsplit(self.url)
            _ = parts.port  # is read only now
        except ValueError as error:
            raise CatalogError(f"This is not an address: {error}.", self._where, fix) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CatalogError("This is not an address that begins with http:// or https://.", self._where, fix)
        if parts.username or parts.password or parts.query or parts.fragment:
            what = "An endpoint's address may have no user name, password, ? or #."
            raise CatalogError(what, f"--endpoint {parts.scheme}://{parts.hostname}", f"{fix} A key has --key-env.")
        if not re.fullmatch("[!-~]*", self.key):
            what = "The key holds characters that a key cannot have."
            raise CatalogError(what, "--key-env", "Set the variable to the key alone.")

    @property
    def _where(self) -> str:
        return f"--endpoint {printable(self.url)}"

    @property
    def address(self) -> str:
        """Where questions go."""
        base = self.url.rstrip("/")
        return base if base.endswith("/chat/completions") else f"{base}/chat/completions"

    @property
    def in_clear(self) -> bool:
        """Whether what is sent can be read on the way: without encryption, to another machine."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


class Reply(NamedTuple):
    """The text of an answer, and the tokens of question and answer as the endpoint counts them (0 if it does not)."""

    content: str
    prompt_tokens: int
    answer_tokens: int


class _Again(Exception):
    """Something that may pass: what to say if it does not, how often to try in all, and the pause asked for."""

    def __init__(self, error: CatalogError, tries: int = TRIES, wait: float | None = None):
        super().__init__(str(error))
        self.error, self.tries, self.wait = error, tries, wait


class Client:
    """Asks an endpoint; may be used by several threads. `stop` ends their pauses."""

    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        limits = httpx.Timeout(endpoint.timeout, connect=min(CONNECT, endpoint.timeout))
        self._http = httpx.Client(timeout=limits, headers=headers)
        self._stopped = threading.Event()
        self._refused: frozenset[str] = frozenset()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def stop(self) -> None:
        """Let no thread ask again."""
        self._stopped.set()

    def ask(self, messages: Messages) -> Reply:
        """The model's answer. Raises CatalogError if there is none, or one that is not of the API's form."""
        tried = 0
        while True:
            tried += 1
            try:
                return self._once(messages)
            except _Again as again:
                wait = self.endpoint.pause * 2 ** (tried - 1) if again.wait is None else again.wait
                if tried >= again.tries or self._stopped.wait(wait):
                    raise again.error from None

    def _once(self, messages: Messages) -> Reply:
        asked = self._refused
        status, headers, body = self._send(self._question(messages, asked))
        if status == 400 and (
            named := {name for name in ("max_tokens", "temperature") if name in body.decode("latin-1")} - asked
        ):
            self._refused = self._refused | named
            return self._once(messages)
        if status in BUSY:
            raise _Again(self._refusal(status, body), wait=self._wait(headers))
        if status != 200:
            raise self._refusal(status, body)
        return self._reply(body)

    def _question(self, messages: Messages, refused: frozenset[str]) -> dict[str, object]:
        """The body of a request; some models take neither a temperature nor the older name of the limit."""
        limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
        chosen = {} if "temperature" in refused else {"temperature": 0}
        return {"model": self.endpoint.model, "messages": messages, limit: MOST_TOKENS, **chosen}

    def _send(self, question: Mapping[str, object]) -> tuple[int, httpx.Headers, bytes]:
        end = time.monotonic() + self.endpoint.timeout
        try:
            with self._http.stream("POST", self.endpoint.address, json=question) as response:
                body = b""
                # Each piece may come in time and the whole of them never.
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > LARGEST:
                        raise self._error("The endpoint's answer is larger than 1 MB.", "Check the address.")
                    if time.monotonic() > end:
                        raise httpx.ReadTimeout("")
                return response.status_code, response.headers, body
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            what = f"There is no connection to the endpoint ({_words(error)})."
            raise self._error(what, "Check the address, and that it is running.") from None
        except httpx.TimeoutException:
            what = f"The endpoint did not answer within {self.endpoint.timeout:g} s."
            raise _Again(
                self._error(what, "Try again later, or give it longer: --timeout SECONDS."), TRIES_SLOW
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            what = f"The connection to the endpoint broke off ({_words(error)})."
            raise _Again(self._error(what, "Try again later.")) from None

    def _refusal(self, status: int, body: bytes) -> CatalogError:
        """The error for an answer with another status than 200."""
        said = f"The endpoint answers with status {status}{self._quoted(body)}."
        keyless = "It may need a key: --key-env NAME names the variable with it."
        fixes = {
            401: "Check the key." if self.endpoint.key else keyless,
            403: "Check what the key may do." if self.endpoint.key else keyless,
            404: f"Check the address, and the model's name, '{printable(self.endpoint.model)}'.",
            429: "Try again later, or check what your account may use.",
        }
        busy = "Try again later." if status in BUSY else "Check the address and the model's name."
        return self._error(said, fixes.get(status, busy))

    def _quoted(self, body: bytes) -> str:
        """What the endpoint says of an error, on one line and without the key."""
        try:
            found = orjson.loads(body)
            found = found.get("error", found)
            words = found["message"] if isinstance(found, dict) else found
        except (orjson.JSONDecodeError, AttributeError, LookupError):
            words = body.decode(errors="replace")
        return self._short(str(words))

    def _short(self, words: str) -> str:
        if self.endpoint.key:
            words = words.replace(self.endpoint.key, "(the key)")
        words = printable(" ".join(words.split())).rstrip(".")
        return f": {words[:QUOTED]}{'…' if len(words) > QUOTED else ''}" if words else ""

    def _wait(self, headers: Mapping[str, str]) -> float | None:
        """The pause that a busy endpoint asks for, in seconds or as a date."""
        asked = headers.get("retry-after", "").strip()
        try:
            wait = (
                float(asked)
                if re.fullmatch(r"\d+(\.\d+)?", asked)
                else parsedate_to_datetime(asked).timestamp() - time.time()
            )
        except (ValueError, TypeError):
            return None
        if wait > LONGEST_WAIT:
            raise self._error(f"The endpoint asks for a pause of {wait:,.0f} s.", "Run the command again after that.")
        return max(0.0, wait)

    def _reply(self, body: bytes) -> Reply:
        try:
            found: Any = orjson.loads(body)
        except orjson.JSONDecodeError:
            what = f"The endpoint's answer is not JSON{self._short(body.decode(errors='replace'))}."
            raise self._error(what, "Check the address: many APIs end in /v1.") from None
        try:
            content = found["choices"][0]["message"]["content"]
            usage = found.get("usage") or {}
            counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        except (LookupError, TypeError, AttributeError):
            content, counts = 0, []
        if not isinstance(content, str | None):
            what = (
                f"The endpoint's answer is not that of a chat completion{self._short(body.decode(errors='replace'))}."
            )
            raise self._error(what, "Check the address: it should be of an OpenAI-compatible API.")
        return Reply(content or "", *(count if isinstance(count, int) else 0 for count in counts))

    def _error(self, what: str, fix: str) -> CatalogError:
        return CatalogError(what, self.endpoint.address, fix)


def _words(error: Exception) -> str:
    """What the system or the library says of a failed connection."""
    return printable(" ".join(str(error).split()))[:QUOTED] or type(error).__name__
