"""Into which line of the invoice usage falls: by service, Azure subscription, resource group, tag.

A group is known by a key made from what it is, never from its place or its spelling: a month is
proposed again in the groups in which it was billed (`as_billed`), so that a contract whose grouping
changes is not billed twice; the new grouping begins with the first month that is not billed yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from urllib.parse import quote

from domain.charge import Charge
from domain.contract import EarnedCredit, Untagged, UsageGroup, UsageGrouping
from domain.subscription import UsageShare

SPLIT = "usage.split"
"""The reason that tells on a charge how its usage was put together."""

EARNED = "usage.earned_credit"
"""The reason that tells on a charge whose the earned credit in it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledMonth:
    """How a month of an Azure plan was billed."""

    grouping: UsageGrouping
    kept_on: Mapping[date, bool] = field(default_factory=dict)
    """Whether the partner kept the earned credit, by first day of the charges that had one."""

    def keeps_credit(self, day: date) -> bool | None:
        """Say how the credit of a day was billed, as on the nearest day; None where nothing had one."""
        if not self.kept_on:
            return None
        before = [one for one in self.kept_on if one <= day]
        return self.kept_on[max(before) if before else min(self.kept_on)]


Billed = Mapping[tuple[str, date], BilledMonth]
"""What was billed so far, by Azure plan and first day of the month."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group: the end of its charge's key, what it is called, and what its reason tells."""

    key: str
    name: str
    told: Mapping[str, str]


def group_of(
    share: UsageShare, grouping: UsageGrouping, *, marketplace: bool = False
) -> Group | str:
    """Return the group of a share; in a few words what is missing where the usage does not say.

    What another publisher sells never shares a line with what Microsoft sells.
    """
    found = _group(share, grouping, "Marketplace" if marketplace else "Azure")
    if isinstance(found, str) or not marketplace:
        return found
    return Group(key=f"{found.key}/marketplace", name=found.name, told=found.told)


def _group(share: UsageShare, grouping: UsageGrouping, seller: str) -> Group | str:
    subscription = share.entitlement_id
    told = {"grouping": grouping.by.value}
    match grouping.by:
        case UsageGroup.SERVICE:
            category = share.meter_category
            return Group(
                key=f"{subscription}/{category}",
                name=f"{family(category, seller)}, {share.entitlement_name or subscription}",
                told={**told, "azure_subscription": subscription, "meter_category": category},
            )
        case UsageGroup.ONE_LINE:
            return Group(key="by/one_line", name=f"{seller} usage", told=told)
        case UsageGroup.SUBSCRIPTION:
            return Group(
                key=f"by/azure_subscription/{subscription}",
                name=f"{seller} usage, {share.entitlement_name or subscription}",
                told={**told, "azure_subscription": subscription},
            )
        case UsageGroup.RESOURCE_GROUP:
            return _resource_group(share, seller, "by/resource_group", told)
        case UsageGroup.TAG:
            return _tagged(share, grouping, seller, told)


def _resource_group(
    share: UsageShare, seller: str, key: str, told: Mapping[str, str]
) -> Group | str:
    """A resource group belongs to its Azure subscription; Azure's names have no case."""
    if share.resource_group is None:
        return "resource group"
    where = share.entitlement_name or share.entitlement_id
    name = share.resource_group or "no resource group"
    return Group(
        key=f"{key}/{share.entitlement_id}/{_plain(share.resource_group.lower())}",
        name=f"{seller} usage, {name}" + (f" ({where})" if where else ""),
        told={
            **told,
            "azure_subscription": share.entitlement_id,
            "resource_group": share.resource_group,
        },
    )


def _tagged(
    share: UsageShare, grouping: UsageGrouping, seller: str, told: Mapping[str, str]
) -> Group | str:
    tag = grouping.tag_key
    if tag not in share.tags:
        return f"tag {grouping.tag.strip()}"
    told = {**told, "tag": grouping.tag.strip(), "untagged": grouping.untagged.value}
    value = share.tags[tag]
    if value:
        return Group(
            key=f"by/tag/{_plain(tag)}/{_plain(value)}",
            name=f"{seller} usage, {grouping.tag.strip()} {value}",
            told={**told, "group": value},
        )
    if grouping.untagged is Untagged.RESOURCE_GROUP:
        return _resource_group(share, seller, f"by/untagged/{_plain(tag)}", told)
    name = grouping.untagged_name.strip() or "untagged"
    return Group(
        key=f"by/untagged/{_plain(tag)}",
        name=f"{seller} usage, {name}",
        told={**told, "group": name},
    )


def _plain(text: str) -> str:
    """Write what people named so that it cannot be taken for another part of a key."""
    return quote(text, safe="", errors="replace")


def family(category: str, seller: str = "Azure") -> str:
    """Return what the customer reads for a meter category."""
    return category if category.startswith(seller) else f"{seller} {category or 'usage'}"


def fault_of(grouping: UsageGrouping) -> str:
    """Say in a few words what is impossible about a grouping; empty for one that can be meant."""
    if grouping.by is UsageGroup.TAG and not grouping.tag_key:
        return "it names no tag"
    return ""


def as_billed(charges: Iterable[Charge]) -> Billed:
    """Read from the charges of documents how each month of a plan was billed."""
    found: dict[tuple[str, date], BilledMonth] = {}
    for charge in charges:
        told = {reason.rule: reason.inputs for reason in charge.reasons}
        if SPLIT not in told:
            continue
        key = charge.subscription_id, charge.service.start.replace(day=1)
        month = found.setdefault(key, BilledMonth(grouping=_told(told[SPLIT])))
        if EARNED in told:
            kept = told[EARNED]["policy"] == EarnedCredit.KEPT
            found[key] = replace(month, kept_on={charge.service.start: kept, **month.kept_on})
    return found


def _told(inputs: Mapping[str, str]) -> UsageGrouping:
    return UsageGrouping(
        by=UsageGroup(inputs.get("grouping", UsageGroup.SERVICE)),
        tag=inputs.get("tag", ""),
        untagged=Untagged(inputs.get("untagged", Untagged.GROUP)),
    )
