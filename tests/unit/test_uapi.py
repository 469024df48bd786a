# SPDX-License-Identifier: MIT
"""The extension, its declarations and its stub against the UAPI headers."""

import re
from pathlib import Path

import pytest

from dmabuf_sync._uapi import ffi, lib

TOP = Path(__file__).resolve().parents[2]
PACKAGE = TOP / "python" / "dmabuf_sync"
HEADERS = ["dmabuf_sync.h", "vdmabuf.h", "vblit.h", "vdisplay.h"]
TYPES = {
    "__u32": "uint32_t",
    "__s32": "int32_t",
    "__u64": "uint64_t",
    "__s64": "int64_t",
}


def header(name: str) -> str:
    text = (TOP / "kernel" / "include" / "uapi" / "linux" / name).read_text()
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


def constants(text: str) -> list[str]:
    return re.findall(r"^#define[ \t]+(\w+)[ \t]+\S", text, re.M)


def structs(text: str) -> dict[str, list[tuple[str, str]]]:
    found = {}
    for name, body in re.findall(r"^struct (\w+) \{\n(.*?)^\};", text, re.M | re.S):
        fields = re.findall(r"^\s*((?:struct )?\w+) (\w+)(?:\[\w+\])?;", body, re.M)
        found[name] = [(TYPES.get(kind, kind), field) for kind, field in fields]
    return found


def test_this_test_reads_headers() -> None:
    text = header("dmabuf_sync.h")
    assert "DMABUF_SYNC_IOC_QUERY" in constants(text)
    assert structs(text)["dmabuf_sync_create"] == [
        ("char", "name"),
        ("uint32_t", "flags"),
        ("int32_t", "fd"),
    ]


@pytest.mark.parametrize("name", HEADERS)
def test_every_constant_is_offered(name: str) -> None:
    missing = [constant for constant in constants(header(name)) if not hasattr(lib, constant)]
    assert not missing


@pytest.mark.parametrize("name", HEADERS)
def test_every_field_is_offered_with_its_type(name: str) -> None:
    for struct, fields in structs(header(name)).items():
        offered = ffi.typeof(f"struct {struct}").fields
        assert [field for field, _ in offered] == [field for _, field in fields]
        for (_, field), (kind, _) in zip(offered, fields, strict=True):
            assert field.type.cname.split("[")[0] == kind


@pytest.mark.parametrize("name", HEADERS)
def test_structures_have_no_hole(name: str) -> None:
    for struct in structs(header(name)):
        end = 0
        for _, field in ffi.typeof(f"struct {struct}").fields:
            assert field.offset == end
            end += ffi.sizeof(field.type)
        assert ffi.sizeof(f"struct {struct}") == end
        assert end % 4 == 0


def test_ioctl_numbers_carry_the_size_and_are_distinct() -> None:
    names = [name for name in dir(lib) if "_IOC_" in name and "MAGIC" not in name]
    numbers = {name: getattr(lib, name) for name in names}
    assert len(set(numbers.values())) == len(numbers)
    size = ffi.sizeof("struct dmabuf_sync_timed_lock")
    assert numbers["DMABUF_SYNC_IOC_TIMED_LOCK"] == (1 << 30) | (size << 16) | (0xA8 << 8) | 2


@pytest.mark.parametrize("path", ["tests/system/hostile/ioctl_calls.py", "tests/fuzz/bytes.c"])
def test_every_ioctl_with_an_argument_is_called_with_any_bytes(path: str) -> None:
    ours = ("DMABUF_SYNC_IOC_", "VDMABUF_IOC_", "VBLIT_IOC_", "VDISPLAY_IOC_")
    names = {name for name in dir(lib) if name.startswith(ours) and "MAGIC" not in name}
    called = set(re.findall(r"\w+_IOC_\w+", (TOP / path).read_text()))
    assert names - called == {"DMABUF_SYNC_IOC_UNLOCK"}


def test_the_stub_names_what_the_extension_has() -> None:
    text = (PACKAGE / "_uapi.pyi").read_text().partition("class _Lib:")[2]
    stub = re.findall(r"^    (?:def )?(\w+)(?::|\()", text, re.M)
    assert sorted(stub) == sorted(dir(lib))


def test_the_sources_have_no_numbers() -> None:
    text = re.sub(r"/\*.*?\*/", "", (PACKAGE / "_decl.h").read_text(), flags=re.S)
    assert all(line.endswith(" ...") for line in text.splitlines() if line.startswith("#define"))
    assert not re.search(r"\[\d", text)
