# SPDX-License-Identifier: MIT
"""What the guest's set-up works out before it touches the network: mirrors, keys, packages."""

import os
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from guest import debug_kernel, foreign, host, kernels, mirrors, paths, tree
from guest.architecture import ARM64, NATIVE, named
from guest.report import SetupError

APT = """\
'http://mirror.example/debian/dists/bookworm/InRelease' mirror_bookworm_InRelease 0
'http://mirror.example/debian/dists/bookworm-updates/InRelease' mirror_updates_InRelease 0
'http://mirror.example/debian-security/dists/bookworm-security/InRelease' security_InRelease 0
'http://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' packages 0
"""
VENDOR = "'https://vendor.example/linux/debian/dists/bookworm/InRelease' vendor_InRelease 0\n"


def test_mirrors_are_apts_own() -> None:
    found = mirrors.parse(APT)
    assert found == mirrors.Mirrors(
        "http://mirror.example/debian", "http://mirror.example/debian-security"
    )


@pytest.mark.parametrize("text", [VENDOR + APT, APT + VENDOR])
def test_a_vendor_with_debians_suite_names_is_no_mirror(text: str) -> None:
    found = mirrors.parse(text)
    assert found is not None
    assert found.main == "http://mirror.example/debian"


def test_without_debian_there_is_no_mirror() -> None:
    assert mirrors.parse("'http://mirror.example/ubuntu/dists/noble/InRelease' x 0\n") is None


def test_sources_name_security_only_where_there_is_one() -> None:
    with_security = mirrors.Mirrors("http://a/debian", "http://a/debian-security")
    assert with_security.sources("trixie", ("trixie-backports",)) == [
        "deb http://a/debian trixie main",
        "deb http://a/debian trixie-updates main",
        "deb http://a/debian trixie-backports main",
        "deb http://a/debian-security trixie-security main",
    ]
    assert len(mirrors.Mirrors("http://a/debian", None).sources("trixie")) == 2


def test_a_named_mirror_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEBIAN_MIRROR", "http://named.example/debian")
    monkeypatch.delenv("DEBIAN_SECURITY_MIRROR", raising=False)
    assert mirrors.find() == mirrors.Mirrors("http://named.example/debian", None)


def test_the_key_of_a_tree_covers_what_it_contains() -> None:
    recipe = kernels.RECIPES["6.12"]
    assert recipe.key() == replace(recipe, packages=tuple(reversed(recipe.packages))).key()
    others = [
        replace(recipe, suite="bookworm"),
        replace(recipe, packages=recipe.packages[1:]),
        replace(recipe, extra_suites=("trixie-backports",)),
        replace(recipe, image=False),
    ]
    assert len({recipe.key(), *(other.key() for other in others)}) == len(others) + 1


def test_a_tree_with_two_kernels_is_refused(tmp_path: Path) -> None:
    for release in ("6.12.1", "6.12.2"):
        (tmp_path / "root/usr/lib/modules" / release).mkdir(parents=True)
    with pytest.raises(SetupError, match="2 kernels"):
        tree.Tree(tmp_path).release()


def test_an_unknown_kernel_is_named() -> None:
    names = r"6\.1 6\.12 7\.2 rt lockdep kasan"
    with pytest.raises(SetupError, match=rf"KERNEL=5\.4 is none of {names}"):
        kernels.get("5.4")


@pytest.mark.parametrize("name", ["lockdep", "rt", "5.4"])
def test_a_kernel_that_the_architecture_has_not(name: str) -> None:
    with pytest.raises(SetupError, match=rf"KERNEL={name} is none of 6\.12 7\.2, which ARCH=arm64"):
        kernels.get(name, ARM64)


def test_architectures_by_name() -> None:
    assert [named(name) for name in ("amd64", "x86_64", "arm64", "aarch64")] == [
        NATIVE,
        NATIVE,
        ARM64,
        ARM64,
    ]


def test_a_tree_of_another_architecture_has_the_same_packages() -> None:
    like = kernels.RECIPES["7.2"]
    recipe, builder = foreign.recipes(like, ARM64)
    assert set(like.packages) - set(recipe.packages) == {
        "linux-headers-amd64/trixie-backports",
        "linux-image-amd64/trixie-backports",
    }
    assert "linux-image-arm64/trixie-backports" in recipe.packages
    assert recipe.image
    # Of this machine's own architecture, and with tools as new as the kernel.
    assert "linux-headers-amd64/trixie-backports" in builder.packages
    assert "gcc-aarch64-linux-gnu" in builder.packages
    assert not any("arm64" in package for package in builder.packages)
    assert builder.extra_suites == like.extra_suites
    assert not builder.image


@pytest.mark.parametrize("version", ["6.12.1", "6.12.2"])
def test_the_builder_has_the_kernels_tools(tmp_path: Path, version: str) -> None:
    made = tree.Tree(tmp_path, foreign=True)
    headers = made.root / "usr/src/linux-headers-6.12.1"
    headers.mkdir(parents=True)
    (headers / "scripts").symlink_to("../../lib/linux-kbuild-6.12.1/scripts")
    (made.root / "usr/lib/modules/6.12.1").mkdir(parents=True)
    (made.builder.root / f"usr/lib/linux-kbuild-{version}/scripts").mkdir(parents=True)
    if version == "6.12.1":
        foreign.check_tools(made)
        return
    with pytest.raises(SetupError, match=r"amd64 has no kernel 6\.12\.1 yet"):
        foreign.check_tools(made)


@pytest.mark.parametrize("place", ["boot/vmlinuz-6.12.1", "usr/lib/modules/6.12.1/vmlinuz"])
def test_the_kernels_image_where_the_package_has_it(tmp_path: Path, place: str) -> None:
    made = tree.Tree(tmp_path, foreign=True)
    (made.root / "usr/lib/modules/6.12.1").mkdir(parents=True)
    file = made.root / place
    file.parent.mkdir(exist_ok=True)
    file.touch()
    assert foreign.image(made) == file


def test_what_the_packages_scripts_would_have_written(tmp_path: Path) -> None:
    targets = [Path(link.format(ARM64.triplet)) for link in foreign.ALTERNATIVES]
    for link, target in zip(targets, foreign.ALTERNATIVES.values(), strict=True):
        file = tmp_path / link.parent / target
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(target)
    masters = tmp_path / "usr/share/base-passwd"
    masters.mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        (masters / f"{name}.master").write_text(name)
    foreign.configure(tmp_path, ARM64)
    assert (tmp_path / "etc/passwd").read_text() == "passwd"
    assert (tmp_path / "usr/bin/awk").read_text() == "mawk"
    library = tmp_path / "usr/lib/aarch64-linux-gnu/libblas.so.3"
    assert library.read_text() == "blas/libblas.so.3"
    library.unlink()
    library.with_name("lapack").joinpath("liblapack.so.3").unlink()
    for name in ("awk", "cc", "which"):
        (tmp_path / "usr/bin" / name).unlink()
    with pytest.raises(SetupError, match=r"lapack/liblapack\.so\.3, which is not there"):
        foreign.configure(tmp_path, ARM64)


def test_an_architecture_that_is_not_named_stays_unnamed(tmp_path: Path) -> None:
    """The kernel's own makefiles would take an empty one for a name."""
    (tmp_path / "Makefile").write_text('modules:\n\t@echo "ARCH is $${ARCH-not there}"\n')
    command = ["make", "-s", "--no-print-directory", "-C", str(paths.ROOT), "modules"]
    environment = {name: value for name, value in os.environ.items() if name != "ARCH"}
    result = subprocess.run(
        [*command, f"KDIR={tmp_path}"], env=environment, capture_output=True, text=True
    )
    assert (result.stdout, result.returncode) == ("ARCH is not there\n", 0), result.stderr


def test_make_once_leaves_nothing_half_made(tmp_path: Path) -> None:
    folder = tmp_path / "thing"

    def fail(aside: Path) -> None:
        (aside / "part").touch()
        raise SetupError("no")

    with pytest.raises(SetupError):
        paths.make_once(folder, fail)
    assert not folder.exists()
    assert not list(tmp_path.glob(".thing.new-*"))


def test_make_once_removes_what_a_killed_maker_left(tmp_path: Path) -> None:
    leftover = tmp_path / ".thing.new-abc"
    leftover.mkdir()
    paths.make_once(tmp_path / "thing", lambda aside: None)
    assert not leftover.exists()


def test_make_once_makes_once_for_several(tmp_path: Path) -> None:
    made = []

    def make(aside: Path) -> None:
        made.append(aside)
        (aside / "whole").touch()

    folder = tmp_path / "thing"
    threads = [threading.Thread(target=paths.make_once, args=(folder, make)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert (folder / "whole").exists()


def test_missing_programs_are_named_by_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "SYSTEM_PATH", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "bwrap"
    program.touch(mode=0o755)
    assert host.missing(host.SANDBOX) == []
    assert host.missing({"qemu-system-x86_64": "qemu-system-x86"}) == ["qemu-system-x86"]


def test_without_root_and_sudo_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "apt-get").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SetupError) as caught:
        host.install(["b", "a", "b"])
    wanted = "missing on this machine: apt-get install a b (neither root nor sudo)"
    assert str(caught.value) == wanted


def test_install_asks_apt_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(host, "apt_prefix", list)
    monkeypatch.setattr(host, "run", lambda command, log: calls.append(list(command)))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    host.install([])
    assert calls == []
    host.install(["b", "a"])
    assert [call[-1] for call in calls] == ["update", "b"]
    assert all("DEBIAN_FRONTEND=noninteractive" in call for call in calls)


def test_unmet_kernel_options_are_found() -> None:
    wanted = "# why\nCONFIG_A=y\nCONFIG_B=m\nCONFIG_C=n\nCONFIG_D=y\nCONFIG_D=m\n"
    config = "CONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D=m\n"
    assert debug_kernel.missing_options(wanted, config) == ["CONFIG_B"]


@pytest.mark.parametrize("kind", debug_kernel.KINDS)
def test_every_debug_kernel_has_its_configuration(kind: str) -> None:
    text = (debug_kernel.CONFIGS / f"{kind}.config").read_text()
    assert f'CONFIG_LOCALVERSION="-{kind}"' in text


def test_the_udev_stand_in_is_a_valid_script() -> None:
    subprocess.run(["sh", "-n", str(tree.STAND_IN)], check=True)


@pytest.mark.parametrize("link", ["../../bin/udevadm", "/usr/bin/udevadm"])
def test_udev_is_set_aside(tmp_path: Path, link: str) -> None:
    """Wherever the release's link leads, and without a look at this machine's own."""
    program = tmp_path / "usr/bin/udevadm"
    program.parent.mkdir(parents=True)
    program.write_text("the real one")
    daemon = tmp_path / "usr/lib/systemd/systemd-udevd"
    daemon.parent.mkdir(parents=True)
    daemon.symlink_to(link)
    tree.set_udev_aside(tmp_path)
    for name in tree.STANDS_IN_FOR:
        stand_in = tmp_path / name
        assert stand_in.read_bytes() == tree.STAND_IN.read_bytes()
        assert not stand_in.is_symlink()
        assert (tmp_path / tree.SET_ASIDE / stand_in.name).read_text() == "the real one"
