# SPDX-License-Identifier: MIT
"""KernelModules: modules of the running kernel, through libkmod."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import kernel_error
from .refusal import KernelLog, explained

SYS_MODULE = Path("/sys/module")
# Below a folder, where NAME.ko may be: installed flat, one folder each, a checkout.
_PLACES = ("{name}.ko", "{name}/{name}.ko", "kernel/{name}/{name}.ko")


@dataclass(frozen=True)
class ModuleInfo:
    """A module file, as modinfo(8) shows it."""

    name: str
    path: Path
    version_magic: str
    """The kernel it was made for, and how that was built."""
    depends: tuple[str, ...]
    parameters: dict[str, str]
    """Names and descriptions."""
    signer: str


class ModuleInUse(OSError):
    """EAGAIN: a module cannot be unloaded now."""

    def __init__(self, name: str, holders: tuple[str, ...], references: int) -> None:
        if holders:
            why = f"the module{'s' * (len(holders) > 1)} {', '.join(holders)} use it"
        else:
            why = f"{references} reference{'s' * (references != 1)} to it"
        super().__init__(errno.EAGAIN, f"unload {name}: it is in use ({why})")
        self.name = name
        self.holders = holders
        self.references = references


class KernelModules:
    """Loads and unloads. Not to be shared by threads.

    Files are looked for in `folder` (also NAME/NAME.ko or kernel/NAME/NAME.ko below it), then among
    the installed modules of the running kernel.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """ImportError: this package was built without libkmod."""
        try:
            from .._kmod import ffi, lib
        except ImportError as error:
            raise ImportError(
                "this dmabuf-sync was built without libkmod: install libkmod-dev (Debian) or"
                " kmod-devel (Fedora) and then dmabuf-sync again, or use insmod(8)"
            ) from error
        self._ffi, self._lib = ffi, lib
        self._folder = folder
        context = lib.kmod_new(ffi.NULL, ffi.NULL)
        if not context:
            raise kernel_error(errno.ENOMEM, "libkmod")
        self._context = ffi.gc(context, lib.kmod_unref)
        lib.kmod_set_log_priority(self._context, 0)  # it would write to standard error

    def path(self, name: str) -> Path | None:
        """The file of a module; None if there is none, or it is built into the kernel."""
        if self._folder is not None:
            for place in _PLACES:
                path = self._folder / place.format(name=name)
                if path.exists():
                    return path
        found = self._lib.kmod_module_get_path(self._installed(name))
        return Path(self._text(found)) if found else None

    def info(self, name: str) -> ModuleInfo:
        """What its file says. FileNotFoundError: there is none."""
        path = self.path(name)
        if path is None:
            raise self._missing(name)
        fields: dict[str, list[str]] = {}
        for key, value in self._info(path):
            fields.setdefault(key, []).append(value)
        described = (text.partition(":") for text in fields.get("parm", []))
        return ModuleInfo(
            name=name,
            path=path,
            version_magic=fields.get("vermagic", [""])[0],
            depends=tuple(word for word in fields.get("depends", [""])[0].split(",") if word),
            parameters={key: text for key, _, text in described},
            signer=fields.get("signer", [""])[0],
        )

    def loaded(self, name: str) -> bool:
        """Whether it is there: loaded completely, or built into the kernel."""
        return self._lib.kmod_module_get_initstate(self._named(name)) in (0, 1)

    def references(self, name: str) -> int:
        """How many use it, modules among them; 0 if it is not loaded."""
        return max(int(self._lib.kmod_module_get_refcnt(self._named(name))), 0)

    def holders(self, name: str) -> tuple[str, ...]:
        """Loaded modules that use it."""
        found = self._lib.kmod_module_get_holders(self._named(name))
        return tuple(
            self._text(self._lib.kmod_module_get_name(module)) for module in self._modules(found)
        )

    def load(self, name: str, parameters: Mapping[str, object] | None = None) -> list[str]:
        """Load a module and, before it, what it depends on; returns what was loaded, in order.

        FileNotFoundError: no such module; ModuleRefused: the kernel does not take it, and why.
        """
        if self.loaded(name):
            return []
        info = self.info(name)
        made = [done for other in info.depends for done in self.load(other)]
        options = [f"{key}={value}" for key, value in (parameters or {}).items()]
        if configured := self._lib.kmod_module_get_options(self._installed(name)):
            options.insert(0, self._text(configured))
        with KernelLog() as log:
            result = self._lib.kmod_module_insert_module(
                self._from_path(info.path), 0, " ".join(options).encode()
            )
            if result == -errno.EEXIST:
                return made
            if result < 0:
                raise explained(info.name, -result, info.version_magic, log.lines())
        return [*made, name]

    def unload(self, name: str) -> bool:
        """Unload a module; False if it was not loaded. ModuleInUse: somebody uses it."""
        if not self.loaded(name):
            return False
        result = self._lib.kmod_module_remove_module(self._named(name), os.O_NONBLOCK)
        if result in (-errno.EAGAIN, -errno.EBUSY):
            raise ModuleInUse(name, self.holders(name), self.references(name))
        if result == -errno.EPERM:
            raise kernel_error(errno.EPERM, f"unload {name}: only root may unload modules")
        if result < 0 and result != -errno.ENOENT:
            raise kernel_error(-result, f"unload {name}")
        return True

    # -- libkmod

    def _text(self, chars: Any) -> str:
        return self._ffi.string(chars).decode(errors="replace")

    def _one(self, result: int, slot: Any, doing: str) -> Any:
        if result < 0:
            raise kernel_error(-result, doing)
        return self._ffi.gc(slot[0], self._lib.kmod_module_unref)

    def _named(self, name: str) -> Any:
        slot = self._ffi.new("struct kmod_module **")
        return self._one(
            self._lib.kmod_module_new_from_name(self._context, name.encode(), slot), slot, name
        )

    def _from_path(self, path: Path) -> Any:
        # A context remembers a name's first path, so this gets one of its own, and keeps it.
        lib, ffi = self._lib, self._ffi
        slot = ffi.new("struct kmod_module **")
        context = ffi.gc(lib.kmod_new(ffi.NULL, ffi.NULL), lib.kmod_unref)
        lib.kmod_set_log_priority(context, 0)
        result = lib.kmod_module_new_from_path(context, str(path.absolute()).encode(), slot)
        return self._one(result, slot, str(path))

    def _installed(self, name: str) -> Any:
        """The module of this name that modprobe(8) would load; without a path if there is none."""
        slot = self._ffi.new("struct kmod_list **")
        self._lib.kmod_module_new_from_lookup(self._context, name.encode(), slot)
        for module in self._modules(slot[0]):
            return module
        return self._named(name)

    def _modules(self, entries: Any) -> Iterator[Any]:
        made = []
        entry = entries
        while entry:
            module = self._lib.kmod_module_get_module(entry)
            made.append(self._ffi.gc(module, self._lib.kmod_module_unref))
            entry = self._lib.kmod_list_next(entries, entry)
        if entries:
            self._lib.kmod_module_unref_list(entries)
        return iter(made)

    def _info(self, path: Path) -> list[tuple[str, str]]:
        slot = self._ffi.new("struct kmod_list **")
        result = self._lib.kmod_module_get_info(self._from_path(path), slot)
        if result < 0:
            bad = -result in (errno.EINVAL, errno.ENOEXEC)
            what = "not a kernel module" if bad else os.strerror(-result)
            raise OSError(-result, f"{path}: {what}")
        pairs = []
        entry = slot[0]
        while entry:
            key = self._lib.kmod_module_info_get_key(entry)
            value = self._lib.kmod_module_info_get_value(entry)
            pairs.append((self._text(key), self._text(value)))
            entry = self._lib.kmod_list_next(slot[0], entry)
        self._lib.kmod_module_info_free_list(slot[0])
        return pairs

    def _missing(self, name: str) -> FileNotFoundError:
        where = f"/lib/modules/{os.uname().release}"
        if self._folder is not None:
            where = f"{self._folder} or {where}"
        return FileNotFoundError(errno.ENOENT, f"no kernel module {name} in {where}")


def parameters(name: str) -> dict[str, str]:
    """Parameters of a loaded module and their values, as far as this user may read them."""
    found = {}
    folder = SYS_MODULE / name / "parameters"
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        try:
            found[path.name] = path.read_text().rstrip("\n")
        except PermissionError:
            continue
    return found


def set_parameter(name: str, parameter: str, value: object) -> None:
    """Change a parameter of a loaded module. OSError: not loaded, not changeable, bad value."""
    (SYS_MODULE / name / "parameters" / parameter).write_text(f"{value}\n")
