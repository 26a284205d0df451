"""OpenTelemetry for a client (extra `otel`): spans, and counters of polls, retries, 429s and money.

    client = traced(SMSPartnerClient())

It needs OpenTelemetry's API alone; your application sets up where spans and figures go. They hold
neither the API key nor a phone number: URLs have no query. Tokens are shortened, except in the
message of an exception. A failure of OpenTelemetry is logged, and changes no call.
"""

from ._instrument import traced

__all__ = ["traced"]
