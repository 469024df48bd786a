# SPDX-License-Identifier: MIT
"""The few messages of Perfetto's trace format that a timeline needs, as protobuf classes.

They are described here instead of taken from the package `perfetto`, whose generated code asks for
a newer protobuf than distributions have. Numbers and names are those of Perfetto's
perfetto_trace.proto, which never change; https://perfetto.dev/docs/reference/synthetic-track-event
explains them.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "perfetto.protos"
_TYPES = {
    "int32": 5,
    "int64": 3,
    "uint32": 13,
    "uint64": 4,
    "fixed64": 6,
    "bool": 8,
    "string": 9,
}
_MESSAGE, _OPTIONAL, _REPEATED = 11, 1, 3

# Enums are numbers on the wire.
_MESSAGES = {
    "Trace": "packet=1:TracePacket*",
    "TracePacket": (
        "clock_snapshot=6:ClockSnapshot timestamp=8:uint64 trusted_packet_sequence_id=10:uint32"
        " track_event=11:TrackEvent sequence_flags=13:uint32 track_descriptor=60:TrackDescriptor"
    ),
    "ClockSnapshot": "clocks=1:Clock* primary_trace_clock=2:int32",
    "Clock": "clock_id=1:uint32 timestamp=2:uint64",
    "TrackDescriptor": (
        "uuid=1:uint64 name=2:string process=3:ProcessDescriptor parent_uuid=5:uint64"
        " child_ordering=11:int32 sibling_order_rank=12:int32 description=14:string"
    ),
    "ProcessDescriptor": "pid=1:int32 process_name=6:string",
    "TrackEvent": (
        "debug_annotations=4:DebugAnnotation* type=9:int32 track_uuid=11:uint64"
        " categories=22:string* name=23:string flow_ids=47:fixed64*"
        " terminating_flow_ids=48:fixed64*"
    ),
    "DebugAnnotation": "int_value=4:int64 string_value=6:string name=10:string",
}

SLICE_BEGIN, SLICE_END, INSTANT = 1, 2, 3
LEXICOGRAPHIC, CHRONOLOGICAL, EXPLICIT = 1, 2, 3
REALTIME, MONOTONIC, BOOTTIME = 1, 3, 6
INCREMENTAL_STATE_CLEARED = 1


def _describe() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="dmabuf_sync/perfetto.proto", package=_PACKAGE, syntax="proto2"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in fields.split():
            field, _, rest = text.partition("=")
            number, _, kind = rest.partition(":")
            label = _REPEATED if kind.endswith("*") else _OPTIONAL
            kind = kind.rstrip("*")
            added = message.field.add(name=field, number=int(number), label=label)
            if kind in _TYPES:
                added.type = _TYPES[kind]
            else:
                added.type = _MESSAGE
                added.type_name = f".{_PACKAGE}.{kind}"
    return file


def _classes() -> dict[str, Any]:
    # A pool of its own: the real package may be in use in the same process.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_describe())
    found = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    if hasattr(message_factory, "GetMessageClass"):
        return {name: message_factory.GetMessageClass(kind) for name, kind in found.items()}
    factory = message_factory.MessageFactory(pool)  # before protobuf 4.22
    return {name: factory.GetPrototype(kind) for name, kind in found.items()}


MESSAGES = _classes()
"""The classes by name."""
