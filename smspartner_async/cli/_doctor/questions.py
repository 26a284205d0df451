"""The doctor's questions: of this machine, the network and the vendor. All of them are free."""

from __future__ import annotations

import asyncio
import os
import platform
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import define, field
from yarl import URL

from smspartner_async._client import SMSPartnerClient
from smspartner_async._errors import (
    AccessDeniedError,
    APIError,
    AuthenticationError,
    ConfigurationError,
    RateLimitError,
    SMSPartnerError,
    TransportError,
)
from smspartner_async._models import Targeting
from smspartner_async._policies import RetryPolicy
from smspartner_async._validation import BASE_URL, KEY_VARIABLE, checked_key, checked_url

from .findings import (
    Answer,
    Finding,
    Verdict,
    judge_answers,
    judge_certificate,
    judge_credits,
    judge_quote,
    judge_volumes,
    judged,
    not_seen,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from smspartner_async._http.exchange import Exchange

_T = TypeVar("_T")

PAUSE: Final = 1.0  # seconds between two requests
PATIENCE: Final = 10.0  # seconds for a connection
_PACKAGES: Final = ("aiohttp", "attrs", "cattrs", "tenacity")
_PROXIES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "SMSPARTNER_PROXY")
# A post code with a zero in front, which a careless vendor or client would lose.
_AREA: Final = "01000"
_WANTED: Final = 20
_TARGETING: Final = Targeting(gender="mixed", min_age=18, max_age=98, interest=12, zipcodes=[_AREA])
_NO_TOKEN: Final = "0" * 40
_NO_KEY: Final = "smspartner-doctor-wrong-key"
_UNKNOWN_RENTAL: Final = 32
_WRONG_KEY: Final = 10


@define
class Examination:
    """One examination, and what it has found so far."""

    base_url: str | None
    pause: float
    findings: list[Finding] = field(factory=list, init=False)
    secrets: set[str] = field(factory=set, init=False)
    """What no report may show: the key, host names, and what the account is called and holds."""
    _answers: list[Answer] = field(factory=list, init=False)
    _asked: int = field(default=0, init=False)

    async def run(self, *, wrong_key: bool) -> list[Finding]:
        """Ask everything, and return all that was found; what cannot be asked is not seen."""
        self.findings += _this_machine()
        try:
            url = URL(checked_url(self.base_url))
        except ConfigurationError as error:
            self._fail("address", error)
            return self.findings
        self.secrets |= {url.host or "", *_parts_of_proxies()}
        elsewhere = str(url) != BASE_URL
        where = f"{url}, which is not the vendor's" if elsewhere else "the vendor's"
        self._add(Finding("address", Verdict.NOTED, where, private=elsewhere))
        reached = await self._reach(url)
        key = self._key()
        if key is not None and reached:
            await self._ask_vendor(key, wrong_key=wrong_key)
        else:
            self._add(not_seen("the vendor's answers", "they need a key and a connection"))
        self.findings += judge_answers(self._answers)
        return self.findings

    def _add(self, finding: Finding) -> None:
        self.findings.append(finding)

    def _fail(self, about: str, error: Exception, expected: str = "") -> None:
        self._add(Finding(about, Verdict.DIFFERENT, _name_of(error), expected, str(error)))

    def _key(self) -> str | None:
        try:
            key = checked_key(None)
        except ConfigurationError as error:
            self._fail("API key", error, f"set in {KEY_VARIABLE}")
            return None
        self.secrets.add(key)
        self._add(judged("API key", "set", "set", good=True))
        return key

    async def _reach(self, url: URL) -> bool:
        """Resolve the name and connect, as the client does, but without its proxy."""
        host, port = url.host or "", url.port or 443
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port)
        except (OSError, UnicodeError) as error:
            self._fail("name", error, "found")
            return False
        count = len({one[4][0] for one in found})
        seen = f"{count} addresses" if count > 1 else "1 address"
        self._add(judged("name", seen, "found", good=True))
        context = ssl.create_default_context() if url.scheme == "https" else None
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                _, writer = await asyncio.open_connection(host, port, ssl=context)
        except (OSError, TimeoutError) as error:
            about = "TLS" if isinstance(error, ssl.SSLError) else "connection"
            self._fail(
                about, error, "a certificate that this machine trusts" if context else "open"
            )
            return False
        took = time.monotonic() - began
        self._add(judged("connection", f"open after {took:.2f} s", "open", good=True))
        tls = writer.get_extra_info("ssl_object")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        if tls is None:
            self._add(not_seen("TLS", "http:// to this machine"))
        else:
            self._add(judged("TLS", f"{tls.version()}", "TLSv1.2 or newer", good=True))
            self._add(judge_certificate(tls.getpeercert()["notAfter"], time.time()))
        return True

    async def _ask_vendor(self, key: str, *, wrong_key: bool) -> None:
        account = await self._ask("credits", key, SMSPartnerClient.credits)
        if isinstance(account, (AuthenticationError, AccessDeniedError, TransportError)):
            return  # the same would happen again, and might get an address barred
        if not isinstance(account, SMSPartnerError):
            names = account.username, account.first_name, account.last_name
            self.secrets |= {str(account.balance), *(name for name in names if name)}
            self.findings += judge_credits(account)
        counted = await self._ask("calculate", key, lambda client: client.calculate(_TARGETING))
        if not isinstance(counted, SMSPartnerError):
            self.findings += judge_quote(counted, _AREA)
        priced = await self._ask(
            "price", key, lambda client: client.price(_TARGETING, {_AREA: _WANTED})
        )
        if not isinstance(priced, SMSPartnerError):
            self.findings += judge_quote(priced, _AREA)
            self._add(judge_volumes(priced, _WANTED))
        await self._ask(
            "status of no rental", key, lambda client: client.status(_NO_TOKEN), _UNKNOWN_RENTAL
        )
        if wrong_key:
            await self._ask("a wrong key", _NO_KEY, SMSPartnerClient.credits, _WRONG_KEY)
        else:
            self._add(not_seen("a wrong key", "asked with --wrong-key alone"))

    def _keep(self, exchange: Exchange) -> None:
        self._answers.append(Answer(exchange, datetime.now(UTC)))

    async def _ask(
        self,
        about: str,
        key: str,
        question: Callable[[SMSPartnerClient], Awaitable[_T]],
        code: int | None = None,
    ) -> _T | SMSPartnerError:
        """Ask one question; with `code`, the answer should be this error of the vendor's."""
        if self._asked:
            await asyncio.sleep(self.pause)
        self._asked += 1
        expected = "an answer" if code is None else f"code {code}"
        # A new connection for each: one that the vendor is just closing is no finding.
        client = SMSPartnerClient(
            key, base_url=self.base_url, retry=RetryPolicy(attempts=1), on_exchange=self._keep
        )
        try:
            async with client:
                answer = await question(client)
        except SMSPartnerError as error:
            if code is not None and isinstance(error, APIError) and error.code == code:
                self._add(judged(about, f"code {code}", expected, good=True))
            else:
                self._fail(about, error, expected)
            return error
        self._add(judged(about, "an answer", expected, good=code is None))
        return answer


def _name_of(error: Exception) -> str:
    """Name an error without its words, which may name hosts."""
    name = type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{name}: {error.verify_message}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name} {error.errno}"
    if isinstance(error, RateLimitError):
        return f"{name}, HTTP {error.http_status}"
    if isinstance(error, APIError):
        return f"{name}, code {error.code}, HTTP {error.http_status}"
    status = getattr(error, "http_status", None)
    return name if status is None else f"{name}, HTTP {status}"


def _parts_of_proxies() -> Iterator[str]:
    """Yield each proxy that the environment names, its host, its user and its password."""
    for text in filter(None, map(os.environ.get, _PROXIES)):
        yield text
        with suppress(ValueError):
            proxy = URL(text)
            yield from filter(None, (proxy.host, proxy.user, proxy.password))


def _this_machine() -> Iterator[Finding]:
    versions = {"smspartner_async": version("smspartner_async")}
    versions |= {name: version(name) for name in _PACKAGES}
    facts = {
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }
    for about, seen in facts.items():
        yield Finding(about, Verdict.NOTED, seen)
    found = sorted({name.upper() for name in _PROXIES if os.environ.get(name)})
    used = f"none is used, though set: {', '.join(found)}" if found else "none"
    yield Finding("proxy", Verdict.NOTED, used)
