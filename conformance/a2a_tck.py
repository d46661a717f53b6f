"""Run the A2A Technology Compatibility Kit against a daemon of our own, and judge what it found.

    TCK_DIR=FOLDER TCK_PYTHON=PYTHON python conformance/a2a_tck.py 1.0|0.3 [OUT]

FOLDER is a work tree of a2aproject/a2a-tck at the line's branch, or a git directory that has the
branches 1.0-dev and 0.3.x. PYTHON has the kit's dependencies, which are not ours. The kit itself
is copied to a scratch folder; nothing of it is kept but its reports, in OUT.

Failures that are lawful are listed with their reasons in ``a2a_tck_LINE.accepted`` beside this
file. The exit code is 0 if nothing else failed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BRANCHES = {"1.0": "1.0-dev", "0.3": "0.3.x"}
TRANSPORTS = {"1.0": "grpc,jsonrpc,http_json", "0.3": "jsonrpc,rest"}
START_S = 30.0
KIT_S = 900.0
STREAMING_S = "2.0"
"""For which line 0.3 listens to a stream; the agent knows it."""

FAILED = frozenset({"FAILED", "ERROR"})
_TEST = re.compile(
    r"^(tests/\S+::\S+(?: \S+)*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE
)


def free_port() -> int:
    """Find a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def configuration(line: str, folder: Path, port: int) -> str:
    """Write the settings of the daemon that is tested."""
    # The kit uses ids of messages again. Members of 0.3 in a card are none of 1.0, as the kit sees
    # it: each line has a card of its own.
    is_old = line == "0.3"
    return f"""
[server]
port = {port}
data_dir = "{folder / "var"}"

[llm]
provider = "rehearsal"

[workflows]
paths = ["{ROOT / "examples" / "conformance" / "a2a_tck.py"}"]

[a2a]
default_agent = "tck"
v03 = {"true" if is_old else "false"}
grpc_port = {0 if is_old else free_port()}
push_allow_private = ["localhost", "127.0.0.1"]
message_ids_count_once = false
"""


@contextmanager
def daemon(line: str) -> Iterator[str]:
    """Run a daemon, and give the address of the agent that is tested."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        config = folder / "agency.toml"
        config.write_text(configuration(line, folder, port))
        command = [sys.executable, "-m", "agency.daemon.main", "--config", str(config)]
        log = (folder / "daemon.log").open("wb")
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}"
            _await_card(url, process, folder / "daemon.log")
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            log.close()


def _await_card(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/.well-known/agent-card.json", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"The daemon did not start:\n{log.read_text(errors='replace')[-4000:]}")


def unpack(line: str, into: Path) -> None:
    """Copy the kit to where it may write."""
    source = Path(os.environ["TCK_DIR"])
    if (source / "run_tck.py").exists():
        shutil.copytree(source, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
    else:
        archive = subprocess.run(
            ["git", "-C", str(source), "archive", f"refs/heads/{BRANCHES[line]}"],
            check=True,
            capture_output=True,
        ).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as packed:
            packed.extractall(into, filter="data")
    shutil.rmtree(into / "reports", ignore_errors=True)
    (into / "reports").mkdir()


def command(line: str, url: str) -> list[str]:
    """Make the kit's own command."""
    # Taken as it stands: the path of an environment must not be resolved to its base.
    python = os.path.abspath(os.environ.get("TCK_PYTHON", sys.executable))  # noqa: PTH100
    transports = os.environ.get("TCK_TRANSPORTS", TRANSPORTS[line])
    if line == "1.0":
        agent = f"{url}/a2a/tck"
        return [python, "run_tck.py", "--sut-host", agent, "-v", "--transport", transports]
    # This line looks for the card at the host, and speaks with whom that names.
    return [
        python, "run_tck.py", "--sut-url", f"{url}/a2a/tck", "--category", "all",
        "--transports", transports, "--verbose", "--compliance-report", "compliance.json",
    ]  # fmt: skip


def outcomes(line: str, kit: Path, log: str) -> Mapping[str, str]:
    """Read what became of each test."""
    if line == "1.0":
        found = _TEST.findall(log)
        return {name.removeprefix("tests/compatibility/"): outcome for name, outcome in found}
    seen = {}
    for report in sorted((kit / "reports").glob("*_results.json")):
        category = report.name.removesuffix("_results.json")
        for test in json.loads(report.read_text()).get("tests", []):
            name = test["nodeid"].removeprefix("tests/")
            seen[f"{category}|{name}"] = test["outcome"].upper()
    return seen


def accepted(line: str) -> Mapping[str, str]:
    """Read the failures that are lawful, with their reasons."""
    found = {}
    for text in (HERE / f"a2a_tck_{line}.accepted").read_text().splitlines():
        name, _, reason = text.partition("#")
        if name.strip():
            found[name.strip()] = reason.strip()
    return found


def judge(line: str, seen: Mapping[str, str]) -> bool:
    """Print what was found, and tell whether it is lawful."""
    groups: dict[str, Counter[str]] = {}
    for name, outcome in seen.items():
        group = name.split("|")[0] if line == "0.3" else name.split("::")[0].split("/")[0]
        groups.setdefault(group, Counter())[outcome] += 1
    for group, counts in sorted(groups.items()):
        told = ", ".join(f"{n} {outcome.lower()}" for outcome, n in sorted(counts.items()))
        print(f"  {group}: {told}")
    failed = {name for name, outcome in seen.items() if outcome in FAILED}
    lawful = accepted(line)
    for name in sorted(failed & lawful.keys()):
        print(f"  accepted: {name}: {lawful[name]}")
    for name in sorted(name for name in lawful if seen.get(name) in {"PASSED", "XPASS"}):
        print(f"  passes now, and need not be accepted: {name}")
    for name in sorted(failed - lawful.keys()):
        print(f"  FAILED: {name}")
    counts = Counter(seen.values())
    total = ", ".join(f"{n} {outcome.lower()}" for outcome, n in sorted(counts.items()))
    print(f"A2A TCK {line}: {len(seen)} tests: {total}")
    return bool(seen) and not failed - lawful.keys()


def main() -> None:
    """Run one line of the kit."""
    if len(sys.argv) < 2 or sys.argv[1] not in BRANCHES or "TCK_DIR" not in os.environ:
        sys.exit(__doc__)
    line = sys.argv[1]
    out = Path(sys.argv[2] if len(sys.argv) > 2 else f"a2a-tck-{line}").resolve()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, daemon(line) as url:
        kit = Path(name)
        unpack(line, kit)
        environ = {**os.environ, "TCK_STREAMING_TIMEOUT": STREAMING_S}
        done = subprocess.run(
            command(line, url),
            cwd=kit,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=KIT_S,
            check=False,
        )
        (out / "tck.log").write_text(done.stdout)
        seen = outcomes(line, kit, done.stdout)
        shutil.copytree(kit / "reports", out, dirs_exist_ok=True)
    if not seen:
        sys.exit(f"No results were found; see {out / 'tck.log'}.")
    sys.exit(0 if judge(line, seen) else 1)


if __name__ == "__main__":
    main()
