"""The messages between the Functions host and a language worker, as far as a Python worker reads them.

From the fields of the published protocol (FunctionRpc.proto): name, number, kind. Microsoft's worker
library takes the classes from whoever drives it, so they are made here, without a compiler.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    timestamp_pb2,
)

PACKAGE = "AzureFunctionsRpcMessages"

# field: number kind. `map` is of texts by text, `map X` of messages, `X[]` a list, `one/of` belongs to it.
MESSAGES = {
    "TypedData": "string:1 string/data, json:2 string/data, bytes:3 bytes/data, stream:4 bytes/data,"
    " http:5 RpcHttp/data, int:6 sint64/data, double:7 double/data",
    "RpcHttp": "method:1 string, url:2 string, headers:3 map, body:4 TypedData, params:10 map,"
    " status_code:12 string, query:15 map, enable_content_negotiation:16 bool,"
    " rawBody:17 TypedData, cookies:19 RpcHttpCookie[]",
    "RpcHttpCookie": "name:1 string, value:2 string, domain:3 NullableString, path:4 NullableString,"
    " expires:5 NullableTimestamp, secure:6 NullableBool, http_only:7 NullableBool,"
    " same_site:8 SameSite, max_age:9 NullableDouble",
    "NullableString": "value:1 string/string",
    "NullableBool": "value:1 bool/bool",
    "NullableDouble": "value:1 double/double",
    "NullableTimestamp": "value:1 Timestamp/timestamp",
    "StatusResult": "status:4 Status, result:1 string, exception:2 RpcException",
    "RpcException": "source:3 string, stack_trace:1 string, message:2 string",
    "WorkerInitRequest": "host_version:1 string, capabilities:2 map, worker_directory:4 string,"
    " function_app_directory:5 string",
    "WorkerInitResponse": "worker_version:1 string, capabilities:2 map, result:3 StatusResult,"
    " worker_metadata:4 WorkerMetadata",
    "WorkerMetadata": "runtime_name:1 string, runtime_version:2 string, worker_version:3 string,"
    " worker_bitness:4 string, custom_properties:5 map",
    "FunctionMetadataResponse": "function_metadata_results:1 RpcFunctionMetadata[],"
    " result:2 StatusResult, use_default_metadata_indexing:3 bool",
    "RpcFunctionMetadata": "name:4 string, directory:1 string, script_file:2 string,"
    " entry_point:3 string, bindings:6 map BindingInfo, is_proxy:7 bool, language:9 string,"
    " raw_bindings:10 string[], function_id:13 string, managed_dependency_enabled:14 bool,"
    " retry_options:15 RpcRetryOptions, properties:16 map",
    "RpcRetryOptions": "max_retry_count:2 int32, delay_interval:3 Duration,"
    " minimum_interval:4 Duration, maximum_interval:5 Duration, retry_strategy:6 RetryStrategy",
    "BindingInfo": "type:2 string, direction:3 Direction, data_type:4 DataType, properties:5 map",
    "FunctionLoadRequest": "function_id:1 string, metadata:2 RpcFunctionMetadata",
    "FunctionLoadResponse": "function_id:1 string, result:2 StatusResult",
    "InvocationRequest": "invocation_id:1 string, function_id:2 string,"
    " input_data:3 ParameterBinding[], trigger_metadata:4 map TypedData,"
    " trace_context:5 RpcTraceContext, retry_context:6 RetryContext",
    "ParameterBinding": "name:1 string, data:2 TypedData/rpc_data",
    "RpcTraceContext": "trace_parent:1 string, trace_state:2 string, attributes:3 map",
    "RetryContext": "retry_count:1 int32, max_retry_count:2 int32, exception:3 RpcException",
    "InvocationResponse": "invocation_id:1 string, output_data:2 ParameterBinding[],"
    " return_value:4 TypedData, result:3 StatusResult",
}
ENUMS: dict[str, dict[str, tuple[str, ...]]] = {
    "RpcHttpCookie": {"SameSite": ("None", "Lax", "Strict", "ExplicitNone")},
    "StatusResult": {"Status": ("Failure", "Success", "Cancelled")},
    "RpcRetryOptions": {"RetryStrategy": ("exponential_backoff", "fixed_delay")},
    "BindingInfo": {
        "Direction": ("in", "out", "inout"),
        "DataType": ("undefined", "string", "binary", "stream"),
    },
}
_FIELD = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "bool": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT32,
    "sint64": _FIELD.TYPE_SINT64,
    "double": _FIELD.TYPE_DOUBLE,
}
KNOWN = {"Duration": ".google.protobuf.Duration", "Timestamp": ".google.protobuf.Timestamp"}


def messages() -> SimpleNamespace:
    """Make the classes; the names are those of the protocol."""
    file = descriptor_pb2.FileDescriptorProto(
        name="FunctionRpc.proto",
        package=PACKAGE,
        syntax="proto3",
        dependency=[
            duration_pb2.DESCRIPTOR.name,
            timestamp_pb2.DESCRIPTOR.name,
        ],
    )
    for name, fields in MESSAGES.items():
        _describe(file.message_type.add(name=name), fields)
    made = descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return SimpleNamespace(
        **{
            name: message_factory.GetMessageClass(made.message_types_by_name[name])
            for name in MESSAGES
        }
    )


def _describe(message: Any, fields: str) -> None:
    for name, values in ENUMS.get(message.name, {}).items():
        enum = message.enum_type.add(name=name)
        for at, value in enumerate(values):
            enum.value.add(name=value, number=at)
    for text in fields.split(", "):
        name, rest = text.split(":")
        number, kind = rest.split(" ", 1)
        kind, _, choice = kind.partition("/")
        field = message.field.add(name=name, number=int(number), label=_FIELD.LABEL_OPTIONAL)
        if choice:
            if choice not in [one.name for one in message.oneof_decl]:
                message.oneof_decl.add(name=choice)
            field.oneof_index = [one.name for one in message.oneof_decl].index(choice)
        if kind.startswith("map"):
            entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
            entry.options.map_entry = True
            for part, (key, of) in enumerate(
                (("key", "string"), ("value", kind.removeprefix("map").strip() or "string")), 1
            ):
                _type(entry.field.add(name=key, number=part, label=_FIELD.LABEL_OPTIONAL), of, "")
            kind = f"{message.name}.{entry.name}[]"
        _type(field, kind, message.name)


def _type(field: Any, kind: str, owner: str) -> None:
    if kind.endswith("[]"):
        field.label = _FIELD.LABEL_REPEATED
        kind = kind.removesuffix("[]")
    if kind in SCALARS:
        field.type = SCALARS[kind]
    elif kind in ENUMS.get(owner, {}):
        field.type = _FIELD.TYPE_ENUM
        field.type_name = f".{PACKAGE}.{owner}.{kind}"
    else:
        field.type = _FIELD.TYPE_MESSAGE
        field.type_name = KNOWN.get(kind, f".{PACKAGE}.{kind}")
