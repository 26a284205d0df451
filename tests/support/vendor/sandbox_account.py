"""A user of the sandbox, over plain HTTP: never this project's client."""

from typing import Any

import aiohttp

from smspartner_async.sandbox import Sandbox

ABSENT: Any = object()
PARAMETERS = {
    "sexe": "f",
    "minAge": 31,
    "maxAge": 49,
    "zipcode": "60200",
    "interest": 12,
    "category": 103,
}
UNKNOWN_TOKEN = "0" * 40


class Account:
    """A user of one sandbox, over plain HTTP."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session

    async def post(self, **body: Any) -> Any:
        """POST a body (by default the usual targeting) and return the decoded reply."""
        body = {"apiKey": self.sandbox.api_key, "parameters": PARAMETERS} | body
        body = {name: value for name, value in body.items() if value is not ABSENT}
        return (await self.exchange(json=body))[1]

    async def exchange(self, **request: Any) -> tuple[int, Any]:
        """POST anything and return the HTTP status with the decoded reply."""
        async with self.session.post(
            f"{self.sandbox.base_url}/location/optin", **request
        ) as response:
            return response.status, await response.json()

    async def get(self, path: str, **params: str) -> Any:
        """GET with the right key and return the decoded reply."""
        query = {"apiKey": self.sandbox.api_key} | params
        url = f"{self.sandbox.base_url}{path}"
        async with self.session.get(url, params=query) as response:
            return await response.json()

    async def rent(self, **body: Any) -> str:
        """Rent the usual targeting and return the token."""
        reply = await self.post(op="rent", **body)
        token: str = reply["token"]
        return token

    async def download(self, token: str) -> str:
        """Download a file that is ready."""
        async with self.session.get(
            f"{self.sandbox.base_url}/location/file/download",
            params={"apiKey": self.sandbox.api_key, "token": token},
        ) as response:
            assert response.content_type == "text/csv"
            return await response.text()
