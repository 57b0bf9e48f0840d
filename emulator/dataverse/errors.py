"""Dataverse's error answers: status, hexadecimal code and sentence of each case.

Codes and sentences follow Microsoft's list of web service error codes and observed answers. Where
only the code is documented the sentence is ours; no client may key logic on the sentence, which
Dataverse localises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class DataverseError(Exception):
    """An answer `{"error": {"code", "message"}}` with an HTTP status and extra headers."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The JSON document of the answer."""
        return {"error": {"code": self.code, "message": self.message}}


def unauthorized(reason: str, resource: str) -> DataverseError:
    """No, expired or wrong token; the challenge names where to get one."""
    challenge = (
        "Bearer authorization_uri=https://login.microsoftonline.com/common/oauth2/authorize, "
        f"resource_id={resource}/"
    )
    return DataverseError(401, "", reason, {"WWW-Authenticate": challenge})


def not_a_member() -> DataverseError:
    """The token is good, but no application user has its client id."""
    return DataverseError(403, "0x80072560", "The user is not a member of the organization.")


def unknown_segment(name: str) -> DataverseError:
    """There is no entity set, function or action of this name (names are case-sensitive)."""
    return DataverseError(404, "0x8006088a", f"Resource not found for the segment '{name}'.")


def url_too_long() -> DataverseError:
    """An address of more than 32 KB alone, or of more than 64 KB within a batch."""
    return DataverseError(414, "", "The request URI is too long; use $batch.")


def no_http_resource(url: str) -> DataverseError:
    """The verb does not fit the function or action; Dataverse sends an empty code."""
    message = f"No HTTP resource was found that matches the request URI '{url}'."
    return DataverseError(404, "", message)


def unknown_property(name: str, table: str) -> DataverseError:
    """A column named in a query option is not there."""
    return DataverseError(
        400,
        "0x80060888",
        f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{table}'.",
    )


def bad_query(message: str) -> DataverseError:
    """A query option that cannot be parsed or is not supported."""
    return DataverseError(400, "0x80060888", message)


def too_deep() -> DataverseError:
    """A condition nests deeper than the platform follows."""
    return DataverseError(400, "0x80060888", "Recursion depth exceeded the allowed limit.")


def bad_payload(entity_set: str, detail: str) -> DataverseError:
    """An undeclared property or a value of the wrong type in a body."""
    return DataverseError(
        400,
        "0x80048d19",
        f"Error identified in Payload provided by the user for Entity :'{entity_set}', For more "
        "information on this error please follow this help link "
        "https://go.microsoft.com/fwlink/?linkid=2195293  ----> InnerException : "
        f"Microsoft.OData.ODataException: {detail}",
    )


def undeclared(entity_set: str, name: str, table: str) -> DataverseError:
    """A body names a property that the table does not have."""
    return bad_payload(
        entity_set,
        f"An undeclared property '{name}' which only has property annotations in the payload but "
        f"no property value was found in the payload for type 'Microsoft.Dynamics.CRM.{table}'. In "
        "OData, only declared navigation properties and declared named streams can be represented "
        "as properties without values.",
    )


def wrong_literal(entity_set: str, value: object, edm: str) -> DataverseError:
    """A value that its column's type cannot take."""
    return bad_payload(
        entity_set, f"Cannot convert the literal '{value}' to the expected type '{edm}'."
    )


def direct_lookup() -> DataverseError:
    """A lookup was written through its read property."""
    return DataverseError(
        400,
        "0x80060888",
        "CRM do not support direct update of Entity Reference properties, Use Navigation "
        "properties instead.",
    )


def bad_key(entity_set: str, table: str) -> DataverseError:
    """The columns in parentheses are not an alternate key of the table."""
    return DataverseError(
        400,
        "0x0",
        f"The key in the request URI is not valid for resource 'Microsoft.Dynamics.CRM.{table}'. "
        f"Ensure that the names and number of key properties match the declared or alternate key "
        f"properties for the resource '{entity_set}'.",
    )


def too_long(column: str, table: str, limit: int) -> DataverseError:
    """A text is longer than MaxLength."""
    return DataverseError(
        400,
        "0x80044331",
        f"A validation error occurred.  The length of the '{column}' attribute of the '{table}' "
        f"entity exceeded the maximum allowed length of '{limit}'.",
    )


def out_of_range(value: object, column: str, table: str, accepted: str) -> DataverseError:
    """A choice value is not defined, or a number lies outside its limits."""
    return DataverseError(
        400,
        "0x8004431a",
        f"A validation error occurred. The value {value} of '{column}' on record of type "
        f"'{table}' is outside the valid range. Accepted Values: {accepted}",
    )


def invalid_argument(message: str = "InvalidArgument") -> DataverseError:
    """An argument that the platform refuses."""
    return DataverseError(400, "0x80040203", message)


def unexpected(status: int = 400) -> DataverseError:
    """The catch-all; also what UpsertMultiple answers when a created target repeats its key."""
    return DataverseError(status, "0x80040216", "An unexpected error occurred.")


def not_found(table: str, row_id: str) -> DataverseError:
    """No row has this id."""
    return DataverseError(404, "0x80040217", f"{table} With Id = {row_id} Does Not Exist")


def no_file(column: str) -> DataverseError:
    """A file column of a row is empty."""
    return DataverseError(404, "0x80040217", f"No file attachment found for attribute: {column}")


def many_not_found(table: str, ids: Iterable[str]) -> DataverseError:
    """A bulk message names rows that are not there."""
    message = f"{table} With Ids = {','.join(ids)} Do Not Exist"
    return DataverseError(404, "0x80040217", message)


def key_not_found(table: str) -> DataverseError:
    """No row has these alternate key values."""
    message = f"A record with the specified key values does not exist in {table} entity"
    return DataverseError(404, "0x80060891", message)


def key_violated(name: str, columns: Iterable[str]) -> DataverseError:
    """A second row with the values of an active alternate key."""
    return DataverseError(
        412,
        "0x80060892",
        f"Entity Key {name} violated. A record with the same value for {', '.join(columns)} "
        "already exists. A duplicate record cannot be created. Select one or more unique values "
        "and try again.",
    )


def duplicate_id() -> DataverseError:
    """A second row with the same primary key."""
    return DataverseError(412, "0x80040237", "Cannot insert duplicate key.")


def already_exists() -> DataverseError:
    """`If-None-Match: *` met a row; the documentation shows an empty code."""
    return DataverseError(412, "", "A record with matching key values already exists.")


def version_mismatch() -> DataverseError:
    """A stale etag."""
    return DataverseError(
        412,
        "0x80060882",
        "The version of the existing record doesn't match the RowVersion property provided.",
    )


def concurrency_disabled(table: str) -> DataverseError:
    """An etag was sent for a table without optimistic concurrency."""
    message = f"Optimistic concurrency isn't enabled for entity type {table}."
    return DataverseError(400, "0x80060883", message)


def privilege_denied(
    principal: str, privilege: str, schema_name: str, table: str, otc: int
) -> DataverseError:
    """No role of the caller has the privilege on the table."""
    return DataverseError(
        403,
        "0x80040220",
        f"Principal user (Id={principal}, type=8, roleCount=1, privilegeCount=0, accessMode=4) is "
        f"missing prv{privilege}{schema_name} privilege on OTC={otc} for entity '{table}'. "
        "context.Caller={caller}".replace("{caller}", principal),
    )


def named_privilege_denied(principal: str, privilege: str) -> DataverseError:
    """No role of the caller has a privilege that belongs to no table of rows."""
    return DataverseError(
        403,
        "0x80040220",
        f"Principal user (Id={principal}, type=8) is missing {privilege} privilege.",
    )


def delete_restricted(table: str) -> DataverseError:
    """Child rows hold the row through a relationship that restricts deletion."""
    return DataverseError(
        405,
        "0x80040227",
        f"The object you tried to delete is associated with another object and cannot be deleted. "
        f"Entity: {table}",
    )


def not_supported(message: str) -> DataverseError:
    """A verb that the resource refuses (metadata PATCH is the well-known case)."""
    return DataverseError(405, "0x80060888", message)


def not_implemented(what: str) -> DataverseError:
    """Something Dataverse itself lacks, or this look-alike does; it fails loudly."""
    return DataverseError(501, "0x80040216", f"{what} has not yet been implemented.")


def throttled(kind: str, retry_after: int) -> DataverseError:
    """One of the three service protection limits; kind is requests, time or concurrency."""
    code, message = {
        "requests": (
            "0x80072322",
            "Number of requests exceeded the limit of 6000 over time window of 300 seconds.",
        ),
        "time": (
            "0x80072321",
            (
                "Combined execution time of incoming requests exceeded limit of 1,200,000 "
                "milliseconds over time window of 300 seconds. Decrease number of concurrent "
                "requests or reduce the duration of requests and try again later."
            ),
        ),
        "concurrency": (
            "0x80072326",
            "Number of concurrent requests exceeded the limit of 52.",
        ),
    }[kind]
    return DataverseError(429, code, message, {"Retry-After": str(retry_after)})


def deadlock() -> DataverseError:
    """SQL 1205: two writers of one row; transient."""
    return DataverseError(
        500,
        "0x80044150",
        "Sql error: Generic SQL error. CRM ErrorCode: -2147204784 Sql ErrorCode: -2146232060 "
        "Sql Number: 1205",
    )


def sql_timeout() -> DataverseError:
    """The statement took too long; transient, smaller requests help."""
    return DataverseError(500, "0x80044151", "Sql error: SQL timeout expired.")


def plugin_failed() -> DataverseError:
    """A plug-in of the customer's threw; the sentence is its own."""
    return DataverseError(400, "0x80040265", "An invoice of a closed period cannot be changed.")


def record_access_denied() -> DataverseError:
    """The caller has the privilege on the table, but no right to this row."""
    who = "00000000-0000-4000-8000-00000000aaaa"
    return DataverseError(
        403,
        "0x80048306",
        f"Principal with id {who} does not have WriteAccess right(s) for record with id {who} of "
        "entity.",
    )


def access_denied() -> DataverseError:
    """The service refuses without saying more."""
    return DataverseError(403, "0x80048405", "Access is denied.")


def too_large() -> DataverseError:
    """The body is larger than the service takes."""
    return DataverseError(413, "", "The request is too large.")


def unavailable() -> DataverseError:
    """The service is away for a moment."""
    return DataverseError(503, "", "The service is unavailable.")


def duplicate_found() -> DataverseError:
    """A published duplicate detection rule was hit, and the request asked to be told."""
    return DataverseError(
        412,
        "0x80040333",
        "A record was not created or updated because a duplicate of the current record already "
        "exists.",
    )


# Kinds for Settings.fail_next. All but the last one fail before any work is done.
AFTER_COMMIT = "after_commit"
FAULTS: dict[str, Callable[[], DataverseError]] = {
    "requests": lambda: throttled("requests", 2),
    "time": lambda: throttled("time", 2),
    "concurrency": lambda: throttled("concurrency", 2),
    "deadlock": deadlock,
    "sql_timeout": sql_timeout,
    "plugin": plugin_failed,
    "record_access": record_access_denied,
    "access": access_denied,
    "too_large": too_large,
    "unexpected": lambda: unexpected(500),
    "unavailable": unavailable,
    AFTER_COMMIT: unavailable,
}


def on_demand(kind: str) -> DataverseError:
    """The error of a failure that was asked for."""
    return FAULTS[kind]()
