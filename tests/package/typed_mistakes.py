"""What people get wrong first, which a type checker must refuse. Checked, and never run.

Each statement is one mistake. mypy and pyright report an ignore that is not needed, and so of a
mistake that they do not see.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=error

from __future__ import annotations

import smspartner_async
import smspartner_async.testing
import smspartner_async.web
from smspartner_async import Quote, SMSPartnerClient, Targeting

smspartner_async.Targetting  # type: ignore[attr-defined]  # noqa: B018
smspartner_async.testing.QUICK_POLING  # type: ignore[attr-defined]  # noqa: B018
smspartner_async.web.RentTwice  # type: ignore[attr-defined]  # noqa: B018
Targeting(gender="f", min_age=25, max_age=35, interest=12)  # type: ignore[arg-type]
Targeting(gender="m", min_age=25, max_age=35, interest=12)  # type: ignore[arg-type]
Targeting(gender="FEMALE", min_age=25, max_age=35, interest=12)  # type: ignore[arg-type]
Targeting(gender=None, min_age=25, max_age=35, interest=12)  # type: ignore[arg-type]
Targeting(gender="male", min_age="25", max_age=35, interest=12)  # type: ignore[arg-type]
Targeting(gender="male", min_age=25, max_age=35, interest="12")  # type: ignore[arg-type]
Targeting(gender="male", min_age=25, max_age=35, interest=12, category=103)  # type: ignore[arg-type]
Targeting(gender="male", min_age=25, max_age=35, interest=12, category="CSP-")  # type: ignore[arg-type]
Targeting(gender="male", min_age=25, max_age=35, interest=12, zipcodes=60200)  # type: ignore[arg-type]
Targeting(gender="male", min_age=25, max_age=35, interest=12, zipcodes=[60200])  # type: ignore[list-item]
Targeting(gender="male", min_age=25, max_age=35, interest=12, departments={2})  # type: ignore[arg-type]
Targeting(gender="male", min_age=25, max_age=35, interest=12, zipcode="60200")  # type: ignore[call-arg]
Targeting(sexe="f", minAge=25, maxAge=35, interest=12)  # type: ignore[call-arg]
Targeting("male", 25, 35, 12)  # type: ignore[call-arg]
SMSPartnerClient(timeout=10)  # type: ignore[call-arg]
SMSPartnerClient(max_retries=3)  # type: ignore[call-arg]
SMSPartnerClient().with_options(timeout=10)  # type: ignore[call-arg]
Quote("price")  # type: ignore[call-arg]


async def volumes(client: SMSPartnerClient, targeting: Targeting) -> None:
    """The areas of volumes are text, and their numbers are numbers."""
    await client.price(targeting, {60200: 20})  # type: ignore[dict-item]
    await client.price(targeting, {"60200": "20"})  # type: ignore[dict-item]
    await client.price(targeting, [("60200", 20)])  # type: ignore[arg-type]
    await client.rent(targeting, 20)  # type: ignore[arg-type]
    await client.calculate(targeting, {"60200": 20})  # type: ignore[call-arg]
