"""Attempts to get out of the sandbox, against each driver that runs here: refused or contained."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agency.domain.tool import Capability, Level
from tests.integration.sandbox.cell import (
    HOLD_LOCK,
    Cell,
    bounded,
    is_held,
    is_let_go,
)

REFUSALS = {"EACCES", "EPERM", "ENOENT", "EROFS", "EXDEV", "ENOSYS"}


async def test_the_own_folder_can_be_read_and_written(cell: Cell) -> None:
    (cell.folder / "given").write_text("from outside")

    told = await cell.tries(
        {
            "read": "assert open('given').read() == 'from outside'",
            "write": "open('made', 'w').write('from inside')",
            "folder": "os.makedirs('a/b'); os.rename('a', 'c')",
            "tmp": "open(os.environ['TMPDIR'] + '/x', 'w').close()",
            "home": "open(os.environ['HOME'] + '/x', 'w').close()",
            "mode": "os.chmod('made', 0o755)",
        }
    )

    assert {"done"} == set(told.values()), told
    assert "from inside" == (cell.folder / "made").read_text()


async def test_nothing_outside_can_be_read(cell: Cell) -> None:
    neighbour = cell.folder.parent / f"{cell.folder.name}-neighbour"
    neighbour.mkdir()
    (neighbour / "secret").write_text("canary-4711")
    data_dir = cell.folder.parents[1]
    (data_dir / "agency.db").write_text("canary-4711")

    told = await cell.tries(
        {
            "file": f"open({str(cell.outside / 'canary')!r}).read()",
            "list": f"os.listdir({str(cell.outside)!r})",
            "neighbour": f"open({str(neighbour / 'secret')!r}).read()",
            "up": f"open('../{neighbour.name}/secret').read()",
            "database": f"open({str(data_dir / 'agency.db')!r}).read()",
            "shadow": "open('/etc/shadow').read()",
            "keys": "os.listdir('/etc/ssl/private')",
            "ssh": "os.listdir('/etc/ssh')",
            "home": f"os.listdir({str(Path.home())!r} + '/.ssh')",
            "root": "os.listdir('/root/.ssh')",
            "disk": "open('/dev/sda', 'rb').read(1)",
            "memory": "open('/dev/mem', 'rb').read(1)",
            "sys": "os.listdir('/sys/kernel')",
            "run": "os.listdir('/run/systemd')",
        }
    )

    assert set(told.values()) <= REFUSALS, told


async def test_nothing_outside_can_be_changed(cell: Cell) -> None:
    canary = str(cell.outside / "canary")

    told = await cell.tries(
        {
            "append": f"open({canary!r}, 'a').write('x')",
            "truncate": f"os.truncate({canary!r}, 0)",
            "create": f"open({str(cell.outside / 'made')!r}, 'w').close()",
            "remove": f"os.unlink({canary!r})",
            "rename": f"os.rename({canary!r}, 'stolen')",
            "hard link": f"os.link({canary!r}, 'linked')",
            "folder": f"os.mkdir({str(cell.outside / 'folder')!r})",
            "system": "open('/usr/bin/agency-was-here', 'w').close()",
            "etc": "open('/etc/passwd', 'a').write('x')",
            "device": "os.mknod('disk', 0o60600, os.makedev(8, 0)); open('disk', 'rb').read(1)",
            "kernel": "open('/proc/sys/kernel/core_pattern', 'w').close()",
            "trigger": "open('/proc/sysrq-trigger', 'w').close()",
        }
    )

    assert set(told.values()) <= REFUSALS, told
    assert told["append"] in REFUSALS
    assert "canary-4711" == Path(canary).read_text()
    assert ["canary"] == [path.name for path in cell.outside.iterdir()]
    assert not Path("/usr/bin/agency-was-here").exists()


async def test_links_lead_nowhere_also_while_they_are_swapped(cell: Cell) -> None:
    """What is visible is judged by the kernel at each opening, and not by a name beforehand."""
    (cell.folder / "good").write_text("good")
    link = cell.folder / "link"
    link.symlink_to("good")
    stop = threading.Event()

    def swap() -> None:
        targets = [str(cell.outside / "canary"), "good"]
        while not stop.is_set():
            for target in targets:
                fresh = cell.folder / "fresh"
                fresh.symlink_to(target)
                fresh.rename(link)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        told = await cell.told(
            """
            import json
            seen, refused = set(), 0
            for _ in range(3000):
                try:
                    seen.add(open("link").read())
                except OSError:
                    refused += 1
            print(json.dumps({"seen": sorted(seen), "refused": refused}))
            """
        )
    finally:
        stop.set()
        thread.join()

    assert set(told["seen"]) <= {"good"}


async def test_other_processes_are_neither_seen_nor_touched(cell: Cell) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={"CANARY": "canary-4711"}
    ) as victim:
        try:
            told = await cell.told(
                """
                import ctypes, errno, json, os, signal, sys
                victim, daemon = int(sys.argv[1]), int(sys.argv[2])
                told = {"environ": [], "results": {}}
                try:
                    numbers = [name for name in os.listdir("/proc") if name.isdigit()]
                except OSError:
                    numbers = []
                for number in {*numbers, str(victim), str(daemon)}:
                    try:
                        told["environ"].append(open(f"/proc/{number}/environ").read())
                    except OSError:
                        pass
                libc = ctypes.CDLL(None, use_errno=True)
                def call(name, *arguments):
                    ctypes.set_errno(0)
                    result = getattr(libc, name)(*map(ctypes.c_long, arguments))
                    told["results"][name] = errno.errorcode.get(ctypes.get_errno(), str(result))
                call("ptrace", 16, victim, 0, 0)
                call("process_vm_readv", victim, 0, 0, 0, 0, 0)
                for name, pid in (("victim", victim), ("daemon", daemon)):
                    try:
                        os.kill(pid, signal.SIGTERM)
                        told["results"][name] = "done"
                    except OSError as error:
                        told["results"][name] = errno.errorcode[error.errno]
                print(json.dumps(told))
                """,
                str(victim.pid),
                str(os.getpid()),
            )

            assert victim.poll() is None
        finally:
            victim.kill()
    assert "canary-4711" not in "".join(told["environ"])
    assert {"EPERM", "ESRCH"} >= {told["results"]["victim"], told["results"]["daemon"]}
    assert {"EPERM"} == {told["results"]["ptrace"], told["results"]["process_vm_readv"]}


async def test_there_is_no_network(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(cell.outside / "s")
    name = f"agency-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as unix,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        udp.bind(("127.0.0.1", 0))
        monkeypatch.chdir(cell.outside)  # a socket's name is short
        unix.bind("s")
        abstract.bind("\0" + name)
        for one in (tcp, unix, abstract):
            if one is not tcp:
                one.listen()
            one.setblocking(False)
        udp.setblocking(False)

        told = await cell.tries(
            {
                "tcp": f"socket.create_connection(('127.0.0.1', {tcp.getsockname()[1]}), 1)",
                "udp": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)"
                f".sendto(b'x', ('127.0.0.1', {udp.getsockname()[1]}))",
                "unix": f"socket.socket(socket.AF_UNIX).connect({path!r})",
                "abstract": f"socket.socket(socket.AF_UNIX).connect('\\0{name}')",
                "metadata": "socket.create_connection(('169.254.169.254', 80), 1)",
                "metadata 6": "socket.create_connection(('fd00:ec2::254', 80), 1)",
                "outside": "socket.create_connection(('1.1.1.1', 53), 1)",
                "dns": "socket.getaddrinfo('example.org', 80)",
                "raw": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
                "packet": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
                "vsock": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
                "alg": "socket.socket(38, socket.SOCK_SEQPACKET)",
                "bluetooth": "socket.socket(31, socket.SOCK_RAW)",
            }
        )

        assert "done" not in {told[one] for one in told if one != "udp"}, told
        for one in (tcp, unix, abstract):
            with pytest.raises(BlockingIOError):
                one.accept()
        with pytest.raises(BlockingIOError):
            udp.recv(16)


async def test_a_fork_bomb_is_contained(cell: Cell) -> None:
    """It stops by itself after 3000, should nothing else stop it."""
    lock = cell.folder / "lock"

    end = await cell.run(
        HOLD_LOCK
        + """
import os, signal, time
held = hold("lock")
started = 0
for _ in range(3000):
    try:
        if os.fork() == 0:
            signal.pause()
    except OSError:
        break
    started += 1
print(started)
time.sleep(20)
""",
        bounds=bounded(cell, processes_max=64),
    )

    refused = end.output.split()[:1]
    assert "processes" == end.reason or (refused and int(refused[0]) <= 80), end
    assert is_let_go(lock)


async def test_one_process_gets_no_more_than_its_memory(cell: Cell) -> None:
    end = await cell.run(
        "data = [bytearray(16 << 20) for _ in range(64)]",
        bounds=bounded(cell, memory_bytes_max=128 << 20),
    )

    assert "memory" == end.reason or b"MemoryError" in end.output, end
    assert 0 != end.code


async def test_many_processes_together_get_no_more_than_the_memory(cell: Cell) -> None:
    """Each stays below the bound; it is held for 20 s at most."""
    end = await cell.run(
        """
        import os, time
        for _ in range(5):
            if os.fork() == 0:
                data = bytearray(os.urandom(1 << 20)) * 60
                time.sleep(20)
                os._exit(0)
        time.sleep(20)
        """,
        bounds=bounded(cell, memory_bytes_max=160 << 20),
    )

    assert "memory" == end.reason, end


async def test_huge_output_is_cut_in_the_middle(cell: Cell) -> None:
    end = await cell.run(
        """
        import sys
        sys.stdout.write("first\\n")
        for _ in range(300):
            sys.stdout.write("x" * 99_999 + "\\n")
        sys.stdout.write("last\\n")
        """,
        bounds=bounded(cell, output_bytes_max=10_000),
    )

    assert 0 == end.code
    assert len(end.output) < 11_000
    assert end.output.startswith(b"first\n")
    assert end.output.endswith(b"last\n")
    assert 30_000_011 - 10_000 == end.dropped_bytes


async def test_endless_output_ends_with_the_time(cell: Cell) -> None:
    command = cell.command(
        ["sh", "-c", "yes"], bounds=bounded(cell, timeout_s=1.0, output_bytes_max=4096)
    )

    end = await cell.sandbox.run(command)

    assert ("timeout", "SIGKILL", None) == (end.reason, end.signal, end.code)
    assert end.elapsed_s < 10


async def test_nothing_gives_more_rights(cell: Cell) -> None:
    told = await cell.told(
        """
        import ctypes, errno, json
        libc = ctypes.CDLL(None, use_errno=True)
        def call(name, *arguments):
            ctypes.set_errno(0)
            result = getattr(libc, name)(*arguments)
            return errno.errorcode[ctypes.get_errno()] if result < 0 else result
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)()
        libc.capget(header, data)
        print(json.dumps({
            "no_new_privs": call("prctl", 39, 0, 0, 0, 0),
            "seccomp": call("prctl", 21, 0, 0, 0, 0),
            "capabilities": list(data)[:2] + list(data)[3:5],
            "mount": call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
            "unshare": call("unshare", 0x10000000),
            "chroot": call("chroot", b"/"),
            "setns": call("setns", 0, 0),
            "personality": call("personality", 0x0040000),
            "keyctl": call("syscall", 250, 0, 0, 0),
            "bpf": call("syscall", 321, 0, 0, 0),
            "io_uring": call("syscall", 425, 1, 0),
            "clone3": call("syscall", 435, 0, 0),
            "x32": call("syscall", 0x40000000 + 39),
        }))
        """
    )

    assert 1 == told.pop("no_new_privs")
    assert 2 == told.pop("seccomp")
    assert [0, 0, 0, 0] == told.pop("capabilities")
    assert "ENOSYS" == told.pop("clone3")
    assert {"EPERM"} == set(told.values()), told


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a program of root's")
async def test_a_setuid_program_gains_nothing(cell: Cell) -> None:
    program = cell.folder / "cat"
    program.write_bytes(Path("/bin/cat").read_bytes())
    program.chmod(0o4755)

    end = await cell.sandbox.run(cell.command(["./cat", "/etc/shadow"]))

    assert 0 != end.code
    assert b"root:" not in end.output


async def test_terminals_cannot_be_typed_into(cell: Cell) -> None:
    told = await cell.told(
        """
        import errno, fcntl, json, os
        told = {}
        def attempt(name, call):
            try:
                call()
                told[name] = "done"
            except OSError as error:
                told[name] = errno.errorcode[error.errno]
        attempt("terminal", lambda: os.open("/dev/tty", os.O_RDWR))
        for number in range(3):
            attempt(f"stdin {number}", lambda: fcntl.ioctl(number, 0x5412, b"x"))
        print(json.dumps(told))
        """
    )

    assert "done" not in told.values()
    assert {"EPERM"} == {told["stdin 0"], told["stdin 1"], told["stdin 2"]}


async def test_descriptors_of_the_daemon_are_not_inherited(cell: Cell) -> None:
    secret = os.open(cell.outside / "canary", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        told = await cell.told(
            """
            import json, os
            found = []
            for number in range(256):
                try:
                    os.fstat(number)
                except OSError:
                    continue
                found.append(number)
            print(json.dumps(found))
            """
        )
    finally:
        os.close(secret)

    assert [0, 1, 2] == told


async def test_the_environment_holds_nothing_of_the_daemons(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-4711")

    told = await cell.told(
        "import json, os; print(json.dumps(dict(os.environ)))", environment={"GIVEN": "a=b c"}
    )

    assert {"PATH", "HOME", "LANG", "TMPDIR", "GIVEN"} >= set(told) - {"PWD", "LC_CTYPE"}
    assert "a=b c" == told["GIVEN"]


async def test_what_makes_the_sandbox_does_not_obey_the_commands_environment(cell: Cell) -> None:
    """A library that is loaded before there is a sandbox would be outside of it."""
    source = cell.folder / "evil.c"
    source.write_text(
        "#include <fcntl.h>\n"
        "__attribute__((constructor)) void f(void) "
        f'{{ open("{cell.outside}/evil", O_CREAT, 0600); }}'
    )
    done = subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", cell.folder / "evil.so", source],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("there is no C compiler")

    end = await cell.sandbox.run(
        cell.command(["true"], environment={"LD_PRELOAD": str(cell.folder / "evil.so")})
    )

    assert 0 == end.code
    assert ["canary"] == [path.name for path in cell.outside.iterdir()]


SURVIVORS = (
    HOLD_LOCK
    + """
import subprocess, time
def leave(path):
    # A daemon by the book: away from the group, the session, and the parent.
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            import signal
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            for number in range(3):
                os.close(number)
            held = hold(path)
            open(path + ".ready", "w").close()
            time.sleep(60)
        os._exit(0)
    while not os.path.exists(path + ".ready"):
        time.sleep(0.01)
leave("survivor")
subprocess.Popen(["sh", "-c", "nohup setsid sleep 60 >/dev/null 2>&1 &"])
"""
)


async def test_no_child_survives_a_command_that_ends(cell: Cell) -> None:
    end = await cell.run(SURVIVORS)

    assert 0 == end.code, end
    assert not is_held(cell.folder / "survivor")


async def test_no_child_survives_the_time_limit(cell: Cell) -> None:
    end = await cell.run(SURVIVORS + "time.sleep(60)", bounds=bounded(cell, timeout_s=2.0))

    assert "timeout" == end.reason
    assert not is_held(cell.folder / "survivor")


async def test_no_child_survives_a_cancelled_call(cell: Cell) -> None:
    ready = asyncio.Event()
    command = cell.python(SURVIVORS + "print('up', flush=True); time.sleep(60)")
    running = asyncio.ensure_future(cell.sandbox.run(command, on_output=lambda _: ready.set()))
    async with asyncio.timeout(30):
        await ready.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert not is_held(cell.folder / "survivor")


async def test_what_ignores_the_polite_signal_is_ended(cell: Cell) -> None:
    process = await cell.sandbox.start(
        cell.python(
            SURVIVORS
            + """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("up", flush=True)
while True:
    time.sleep(1)
"""
        )
    )
    async with asyncio.timeout(30):
        while b"up" not in process.tail(100):
            await asyncio.sleep(0.02)

    end = await process.end()

    assert "ended" == end.reason
    assert b"asked" in end.output
    assert not is_held(cell.folder / "survivor")


DAEMON = """
import asyncio, sys
from pathlib import Path
from agency.ports.sandbox import Command
from agency.tools.sandbox.sandbox import make_sandbox
from tests.integration.sandbox.cell import settings_of

async def main():
    driver, data_dir, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    sandbox = make_sandbox(settings_of(driver, data_dir))
    from agency.tools.sandbox import layout
    code = Path(sys.argv[4]).read_text()
    argv = [str(layout.interpreter()), "-I", "-S", "-c", code]
    process = await sandbox.start(Command(argv=argv, folder=folder))
    while b"up" not in process.tail(100):
        await asyncio.sleep(0.02)
    print("up", flush=True)
    await process.wait()

asyncio.run(main())
"""


async def test_no_child_survives_a_daemon_that_is_killed(cell: Cell, tmp_path: Path) -> None:
    data_dir, folder, code = tmp_path / "data", tmp_path / "data" / "w", tmp_path / "code"
    folder.mkdir(parents=True)
    code.write_text(SURVIVORS + "print('up', flush=True); time.sleep(60)")
    daemon = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        DAEMON,
        cell.driver,
        str(data_dir),
        str(folder),
        str(code),
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert daemon.stdout is not None
    async with asyncio.timeout(60):
        assert b"up\n" == await daemon.stdout.readline()
    assert is_held(folder / "survivor")

    daemon.kill()
    await daemon.wait()

    assert is_let_go(folder / "survivor")


async def test_each_end_says_what_was_in_force(cell: Cell) -> None:
    end = await cell.run("print(1)")

    assert set(Capability) == set(end.levels)
    assert Level.ENFORCED == end.levels[Capability.FILE_READ]
    assert Level.ENFORCED == end.levels[Capability.NETWORK]
    assert Level.ENFORCED == end.levels[Capability.SYSTEM_CALLS]
    assert json.dumps({str(each): str(level) for each, level in end.levels.items()})
