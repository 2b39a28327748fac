"""No child outlives its supervisor, however that one goes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nexus.local.folder import ROOT
from nexus.local.processes import ChildFailed

ENV = {"PATH": os.environ["PATH"]}
SLEEPER = "import time; print('up'); time.sleep(600)"
NOTES_ITS_STOP = """
import signal, sys, time
def stop(*_):
    open(sys.argv[1], 'a').write(sys.argv[2] + '\\n')
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print('up')
time.sleep(600)
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])
print(child.pid)
time.sleep(600)
"""
SUPERVISED = f"""
import sys
from pathlib import Path
from nexus.local.processes import StopRequested, Supervisor
with Supervisor(logs=Path(sys.argv[1]), guard_grace_s=0.5) as owner:
    owner.handle_signals()
    one = owner.start('one', [sys.executable, '-u', '-S', '-c', {SLEEPER!r}], env={{}})
    two = owner.start('two', [sys.executable, '-u', '-S', '-c', {STUBBORN!r}], env={{}}, stop_timeout_s=0.5)
    print(one.process.pid, two.process.pid, flush=True)
    try:
        owner.watch()
    except StopRequested:
        pass
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path(f"/proc/{pid}/stat").exists() or ") Z " not in Path(f"/proc/{pid}/stat").read_text()


def test_stops_the_newest_first_and_the_foundation_last(supervisor, script, eventually, tmp_path):
    notes = tmp_path / "notes"
    for name, is_foundation in (("database", True), ("web", False)):
        command = [*script(NOTES_ITS_STOP), str(notes), name]
        child = supervisor.start(name, command, env=ENV, is_foundation=is_foundation)
        assert eventually(lambda child=child: "up" in child.log.read_text())

    supervisor.stop()

    assert notes.read_text().split() == ["web", "database"]
    assert supervisor.children == []


def test_ends_by_force_what_does_not_stop_in_time(supervisor, script, eventually):
    child = supervisor.start("stubborn", script(STUBBORN), env=ENV, stop_timeout_s=0.2)
    assert eventually(lambda: "up" in child.log.read_text())

    supervisor.stop()

    assert child.process.returncode == -signal.SIGKILL


def test_ends_the_grandchildren_too(supervisor, script, eventually):
    child = supervisor.start("parent", script(PARENT), env=ENV)
    assert eventually(lambda: child.log.read_text().strip() != "")
    grandchild = int(child.log.read_text())

    supervisor.stop()

    assert eventually(lambda: not alive(grandchild))


def test_tells_which_child_died_with_its_last_words(supervisor, script):
    supervisor.start("web", script(SLEEPER), env=ENV)
    supervisor.start("worker", script("import sys; print('no such queue'); sys.exit(3)"), env=ENV)

    with pytest.raises(ChildFailed, match=r"(?s)worker ended with code 3.*no such queue"):
        supervisor.watch()


def test_runs_a_command_to_its_end(supervisor, script):
    assert supervisor.run("hello", script("print('hello')"), env=ENV) == "hello\n"
    assert supervisor.children == []

    with pytest.raises(ChildFailed, match=r"(?s)bad ended with code 1.*ZeroDivisionError"):
        supervisor.run("bad", script("1 / 0"), env=ENV)


def test_keeps_the_log_of_the_run_before(supervisor, script):
    supervisor.run("hello", script("print('first')"), env=ENV)
    supervisor.run("hello", script("print('second')"), env=ENV)

    assert (supervisor.logs / "hello.log").read_text() == "second\n"
    assert (supervisor.logs / "hello.log.1").read_text() == "first\n"


def start_supervised(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    command = [sys.executable, "-c", SUPERVISED, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    with process.stdout as output:
        return process, [int(word) for word in output.readline().split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_stops_every_child_when_asked(number, tmp_path, eventually):
    process, children = start_supervised(tmp_path)
    assert eventually(lambda: (tmp_path / "two.log").read_text() == "up\n")

    process.send_signal(number)

    assert process.wait(timeout=20) == 0
    assert not any(alive(pid) for pid in children)


def test_leaves_no_child_when_the_supervisor_is_killed(tmp_path, eventually):
    process, children = start_supervised(tmp_path)
    assert eventually(lambda: all((tmp_path / f"{name}.log").read_text() == "up\n" for name in ("one", "two")))

    process.kill()
    process.wait()

    assert eventually(lambda: not any(alive(pid) for pid in children))
