# SPDX-License-Identifier: MIT
"""How a guest is described to virtme-ng and QEMU, and how a QEMU process is looked after."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from guest import __main__ as command_line
from guest import faults, kernels, paths, qemu, vm
from guest.architecture import ARM64
from guest.report import SetupError
from guest.tree import Tree

ROOT = paths.ROOT


@pytest.fixture
def kernel(tmp_path: Path) -> kernels.Kernel:
    return kernels.Kernel("6.12", Tree(tmp_path), "6.12.1", tmp_path / "vmlinuz", "/headers")


def options(kernel: kernels.Kernel, session: vm.Session, *, kvm: bool = False) -> list[str]:
    return vm.virtme_options(kernel, session, Path("/scratch"), Path("/console.log"), kvm=kvm)


def test_defaults() -> None:
    session = command_line.session("vm", {"CMD": "true"})
    assert (session.command, session.cpus, session.icount) == ("true", 2, False)
    assert session.modules == ("dmabuf_sync", "vdmabuf", "vblit", "vdisplay")
    assert session.timeout == 600
    assert command_line.session("test", {}).timeout > 600


def test_variables_shape_the_session() -> None:
    variables = {
        "CMD": "x",
        "SHARE": "some/where",
        "APPEND": "swiotlb=force a='b c'",
        "CPUS": "4",
        "ICOUNT": "1",
        "TIMEOUT": "20",
        "MODULES": "dmabuf_sync",
    }
    session = command_line.session("vm", variables)
    assert session.share == Path.cwd() / "some/where"
    assert session.append == ["swiotlb=force", "a=b c"]
    assert (session.cpus, session.icount, session.timeout) == (4, True, 20)
    assert session.modules == ["dmabuf_sync"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("CPUS", "0"), ("CPUS", "-1"), ("CPUS", "two"), ("TIMEOUT", "1.5"), ("APPEND", "a='b")],
)
def test_malformed_variables_are_one_line(name: str, value: str) -> None:
    with pytest.raises(SetupError):
        command_line.session("vm", {"CMD": "x", name: value})


def test_vm_needs_a_command() -> None:
    with pytest.raises(SetupError, match="nothing to run"):
        command_line.run("vm", {})


@pytest.mark.parametrize(
    ("target", "variables", "message"),
    [
        ("vm", {"ARCH": "mips"}, "ARCH=mips is none of amd64 arm64"),
        ("test", {"ARCH": "arm64"}, "ARCH=arm64 goes with vm run tree, not with test"),
        ("lint", {"ARCH": "aarch64"}, "ARCH=arm64 goes with"),
    ],
)
def test_what_an_architecture_does_not_have(
    target: str, variables: dict[str, str], message: str
) -> None:
    with pytest.raises(SetupError, match=message):
        command_line.run(target, {"CMD": "x", **variables})


def test_another_architecture_is_emulated(tmp_path: Path) -> None:
    base = Tree(tmp_path, foreign=True)
    image = tmp_path / "vmlinuz"
    kernel = kernels.Kernel("6.12-arm64", base, "6.12.1", image, "/headers", architecture=ARM64)
    words = options(kernel, vm.Session("true"), kvm=True)
    assert words[words.index("--arch") + 1] == "aarch64"
    assert words[words.index("--busybox") + 1] == str(base.root / "usr/bin/busybox")
    assert "--disable-kvm" in words
    assert words.index("iommu=smmuv3") > words.index("--qemu-opts") > words.index("swiotlb=32640")


def test_tcg_unless_kvm_works(kernel: kernels.Kernel) -> None:
    session = vm.Session("true")
    assert "--disable-kvm" in options(kernel, session)
    assert "tcg,thread=multi" in options(kernel, session)
    assert "tcg,thread=single" in options(kernel, vm.Session("true", threads=False))
    assert "--disable-kvm" not in options(kernel, session, kvm=True)
    assert "-accel" not in options(kernel, session, kvm=True)


def test_icount_means_tcg_and_one_cpu(kernel: kernels.Kernel) -> None:
    words = options(kernel, vm.Session("true", icount=True, cpus=4), kvm=True)
    assert "--disable-kvm" in words
    assert words[words.index("--cpus") + 1] == "1"
    assert words[words.index("-icount") + 1] == "shift=1,sleep=off"


def test_append_comes_after_our_own_options(kernel: kernels.Kernel) -> None:
    words = options(kernel, vm.Session("true", append=["panic=5"]))
    added = [words[index + 1] for index, word in enumerate(words) if word == "--kopt"]
    assert added.index("panic=5") > added.index("panic=-1")
    assert words.index("--qemu-opts") > words.index("panic=5")


def test_a_share_is_read_only(kernel: kernels.Kernel) -> None:
    words = options(kernel, vm.Session("true", share=Path("/a,b")))
    exports = {word.split(",")[1]: word for word in words if word.startswith("local,")}
    assert exports["id=share"].endswith("readonly=on")
    assert "path=/a,,b," in exports["id=share"]
    assert not exports["id=project"].endswith("readonly=on")


@pytest.mark.parametrize("share", [ROOT, ROOT.parent, ROOT / "docs", Path("/elsewhere")])
def test_the_project_stays_writable_beside_any_share(share: Path) -> None:
    mounts = vm.mounts(vm.Session("true", share=share))
    seen: dict[Path, str] = {}
    for _, access, path in mounts:  # a mount hides what was mounted below it
        seen = {other: how for other, how in seen.items() if path not in (other, *other.parents)}
        seen[path] = access
    assert seen[ROOT] == "rw"
    assert share == ROOT or seen[share] == "ro" or share in ROOT.parents


def test_the_start_script_keeps_any_command_as_it_is(tmp_path: Path) -> None:
    command = """printf '%s\\n' "a  b" '$HOME' "$VALUE" `echo c`; exit 7"""
    session = vm.Session(command, env={"VALUE": "it's"})
    script = vm.start_script("6.12", session, ["dmabuf_sync", "vblit"])
    head = script[: script.index("fail() {")]
    show = 'printf "%s\\n" "$modules" "$DMABUF_SYNC_KERNEL" "$project"; sh -c "$command"'
    result = subprocess.run(["sh", "-c", head + show], capture_output=True, text=True)
    assert result.returncode == 7
    assert result.stdout.splitlines() == [
        "dmabuf_sync vblit",
        "6.12",
        str(ROOT),
        "a  b",
        "$HOME",
        "it's",
        "c",
    ]


def test_the_command_is_there_by_name(tmp_path: Path, kernel: kernels.Kernel) -> None:
    vm.prepare(tmp_path / "session", kernel, vm.Session("true"), [])
    script = vm.start_script("6.12", vm.Session("true"), [])
    (path,) = (line for line in script.splitlines() if line.startswith("export PATH="))
    assert path.startswith(f"export PATH={vm.PROGRAMS}:")
    program = tmp_path / "session" / Path(vm.PROGRAMS).name / "dmabuf-sync"
    # Also for whom the environment does not reach.
    run = subprocess.run([program, "--help"], env={}, cwd="/", capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith("Usage: dmabuf-sync ")


def test_the_shell_scripts_parse() -> None:
    for script in Path(vm.START).parent.glob("*.sh"):
        subprocess.run(["sh", "-n", str(script)], check=True)


def test_kvm_needs_the_cpu_flag(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("flags\t\t: fpu vmx_not sse\n")
    assert not qemu.has_kvm(info, Path("/dev/null"))
    info.write_text("flags\t\t: fpu svm sse\n")
    assert qemu.has_kvm(info, Path("/dev/null"))
    assert not qemu.has_kvm(info, tmp_path / "kvm")


@pytest.mark.parametrize("text", ["0", "3\n", "137\n"])
def test_the_status_is_read_from_its_channel(tmp_path: Path, text: str) -> None:
    (tmp_path / "status").write_text(text)
    assert vm.read_status(tmp_path / "status") == int(text)


@pytest.mark.parametrize("text", ["", "-1\n", None])
def test_no_status_means_the_guest_was_lost(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "status").write_text(text)
    with pytest.raises(qemu.Lost):
        vm.read_status(tmp_path / "status")


def test_output_is_passed_on_apart() -> None:
    script = "from guest import qemu; qemu.run(['sh', '-c', 'echo out; echo err >&2'], 10)"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT / "scripts"
    )
    assert (result.stdout, result.stderr) == ("out\n", "err\n")


def gone(pid: int) -> bool:
    """Wait for a process to go."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_guest_that_hangs_is_killed(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    start = time.monotonic()
    with pytest.raises(qemu.Lost, match=r"timed out after 0\.5 s"):
        qemu.run(["sh", "-c", f"echo $$ >{shlex.quote(str(pid))}; exec sleep 60"], 0.5)
    assert time.monotonic() - start < 10
    assert gone(int(pid.read_text()))


def test_a_failing_qemu_is_a_lost_guest() -> None:
    with pytest.raises(qemu.Lost, match="status 3"):
        qemu.run(["sh", "-c", "exit 3"], 10)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_guest_outlives_its_maker(tmp_path: Path, number: int) -> None:
    pid = tmp_path / "pid"
    command = f"echo $$ >{shlex.quote(str(pid))}; echo up; exec sleep 60"
    script = (
        "import signal, sys; from guest import qemu;"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1));"
        f"qemu.run(['sh', '-c', {command!r}], 60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT / "scripts",
    ) as maker:
        assert maker.stdout
        assert maker.stdout.readline() == b"up\n"
        os.kill(maker.pid, number)
        maker.wait(10)
    assert gone(int(pid.read_text()))


def test_two_guests_write_two_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "BUILD", tmp_path)
    with vm.console_log("console", "6.12") as first:
        first.write_text("first")
        with vm.console_log("console", "6.12") as second:
            assert first.name == "console-6.12.log"
            assert second.name == "console-6.12.2.log"
    assert first.read_text() == "first"
    with vm.console_log("console", "6.12") as third:
        assert third == first
        assert third.read_text() == ""


def crashing(log: Path, line: str) -> list[str]:
    """A stand-in for QEMU that writes `line` to the console log and dies of a signal."""
    return ["sh", "-c", f"echo '{line}' >>{shlex.quote(str(log))}; kill -SEGV $$"]


def test_a_qemu_that_crashes_while_booting_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(qemu.Crashed, match="signal 11"):
        vm.boot(crashing(log, "Linux version 6.12"), 10, log)
    assert len(log.read_text().splitlines()) == vm.BOOTS


def test_a_command_is_never_started_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(qemu.Crashed):
        vm.boot(crashing(log, faults.STARTED), 10, log)
    assert len(log.read_text().splitlines()) == 1


def test_the_marker_is_the_one_the_guest_writes() -> None:
    assert f'echo "{faults.STARTED}" >/dev/kmsg' in vm.START.read_text()


@pytest.mark.parametrize(
    ("target", "value", "threads"),
    [("run", "", True), ("vm", "0", False), ("test", "", False), ("test", "1", True)],
)
def test_a_thread_for_each_cpu(target: str, value: str, threads: bool) -> None:
    assert command_line.session(target, {"CMD": "x", "THREADS": value}).threads == threads


@pytest.mark.parametrize("after", [3, 60])
def test_the_last_words_begin_with_what_ended_the_guest(tmp_path: Path, after: int) -> None:
    lines = [f"before {number}\n" for number in range(100)]
    lines += ["BUG: unable to handle page fault\n"] + [f"after {n}\n" for n in range(after)]
    (tmp_path / "log").write_text("".join(lines))
    said = faults.last_words(tmp_path / "log")
    assert said[-1] == lines[-1]
    assert lines[100] in said
    assert len(said) == max(30, after + 1)


def test_a_quiet_end_is_some_lines(tmp_path: Path) -> None:
    assert faults.last_words(tmp_path / "none") == []
    (tmp_path / "log").write_text("".join(f"{number}\n" for number in range(100)))
    assert faults.last_words(tmp_path / "log") == [f"{number}\n" for number in range(70, 100)]


def test_only_guests_of_their_own_folder_cache_it(kernel: kernels.Kernel) -> None:
    assert "cache=none\n" in vm.start_script("6.12", vm.Session("true"), [])
    assert "cache=loose\n" in vm.start_script("6.12", vm.Session("true", caching=True), [])
