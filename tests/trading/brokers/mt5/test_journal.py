"""An intent is called at most once, whatever races and restarts there are."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from trading.brokers.mt5.gateway.journal import Journal, State

REQUEST = {"action": 1, "volume": 0.1, "comment": "ünï", "price": 1.08501}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path):
    journal = Journal(path)
    yield journal
    journal.close()


def receive(journal, intent_id="i1"):
    return journal.receive(intent_id, REQUEST, correlation_id="c")


def together(*works):
    """Run the works at the same moment and return what each returned."""
    gate = threading.Barrier(len(works))

    def start(work):
        gate.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return [done.result() for done in [pool.submit(start, work) for work in works]]


def test_gives_the_right_to_call_once_to_many_who_ask(journal):
    receive(journal)

    claims = together(*[lambda: journal.claim("i1", REQUEST, called_utc=1.0)] * 12)

    assert sum(claims) == 1


def test_lets_either_the_call_or_the_tombstone_win_never_both(journal):
    for number in range(40):
        intent_id = f"i{number}"
        receive(journal, intent_id)

        claim, settled = together(
            lambda name=intent_id: journal.claim(name, REQUEST, called_utc=1.0),
            lambda name=intent_id: journal.settle(name),
        )

        assert claim == (settled.state is State.CALLING)
        assert claim != (settled.state is State.TOMBSTONE)


def test_a_tombstone_comes_before_the_request_and_stays(journal):
    assert journal.settle("i1").state is State.TOMBSTONE

    assert receive(journal).state is State.TOMBSTONE
    assert journal.claim("i1", REQUEST, called_utc=1.0) is False
    assert journal.settle("i1").state is State.TOMBSTONE


def test_settling_changes_nothing_that_was_called(journal):
    receive(journal)
    journal.claim("i1", REQUEST, called_utc=5.0)
    assert journal.settle("i1").state is State.CALLING

    journal.finish("i1", {"ok": True})
    record = journal.settle("i1")

    assert (record.state, record.reply, record.called_utc) == (State.RESULT, {"ok": True}, 5.0)


def test_a_request_replaces_one_that_was_never_called_and_no_other(journal):
    receive(journal)
    assert journal.receive("i1", {"volume": 0.2}, correlation_id="").request == {"volume": 0.2}
    assert journal.claim("i1", REQUEST, called_utc=1.0) is False  # it is not the request in hand

    assert journal.claim("i1", {"volume": 0.2}, called_utc=1.0)

    assert journal.receive("i1", {"volume": 0.3}, correlation_id="").request == {"volume": 0.2}


def test_finishing_and_refusing_need_their_own_state(journal):
    receive(journal)
    with pytest.raises(LookupError):
        journal.finish("i1", {})
    journal.refuse("i1", {"code": "X"})

    with pytest.raises(LookupError):
        journal.refuse("i1", {"code": "Y"})
    assert journal.claim("i1", REQUEST, called_utc=1.0) is False
    assert journal.settle("i1").reply == {"code": "X"}


def test_an_older_copy_knows_no_run_as_far_as_the_journal_itself(path, tmp_path):
    """Begun anew it has a run of its own, and of the last one only what had passed when it was copied."""
    journal = Journal(path)
    journal.beat()
    with sqlite3.connect(path) as source, sqlite3.connect(tmp_path / "copy.db") as copied:
        source.backup(copied)
    journal.beat()
    (run, beats), *others = journal.runs().items()
    journal.close()

    again, older = Journal(path), Journal(tmp_path / "copy.db")

    assert (beats, others) == (2, [])
    assert again.runs()[run] == 2
    assert older.runs()[run] == 1
    assert list(again.runs().values()) == [2, 0]
    assert again.runs().keys() & older.runs().keys() == {run}


def test_remembers_everything_when_opened_again(path):
    journal = Journal(path)
    created_at = journal.created_at
    for name in ("called", "done", "received"):
        receive(journal, name)
    journal.claim("called", REQUEST, called_utc=7.5)
    journal.claim("done", REQUEST, called_utc=8.5)
    journal.finish("done", {"price": 1.08501})
    journal.settle("gone")
    journal.close()

    again = Journal(path)

    assert again.created_at == created_at
    records = [again.find(name) for name in ("called", "done", "received", "gone", "unheard of")]
    assert [record and record.state for record in records] == [
        State.CALLING,
        State.RESULT,
        State.RECEIVED,
        State.TOMBSTONE,
        None,
    ]
    assert again.settle("called").called_utc == 7.5
    assert again.settle("done").reply == {"price": 1.08501}
    assert again.calling() == 1
    assert again.orders_since(0) == 2
    again.close()


def test_forgets_the_words_of_what_has_ended_and_never_its_name(path):
    journal = Journal(path)
    for name in ("done", "refused", "calling", "received"):
        receive(journal, name)
    journal.claim("done", REQUEST, called_utc=1.0)
    journal.finish("done", {"ok": True})
    journal.refuse("refused", {"code": "X"})
    journal.claim("calling", REQUEST, called_utc=1.0)
    journal.settle("gone")
    later = time.time() + 10

    assert journal.forget(done_before=time.time() - 10) == 0
    assert journal.forget(done_before=later, at_most=2) == 2
    assert journal.forget(done_before=later) == 1
    assert journal.forget(done_before=later) == 0

    names = ("done", "refused", "gone", "calling", "received")
    states = {name: record.state for name in names if (record := journal.find(name))}
    assert set(map(states.get, ("done", "refused", "gone"))) == {State.FORGOTTEN}
    assert (states["calling"], states["received"]) == (State.CALLING, State.RECEIVED)
    for name in ("done", "refused", "gone"):
        assert receive(journal, name).state is State.FORGOTTEN
        assert journal.claim(name, REQUEST, called_utc=1.0) is False
        record = journal.settle(name)
        assert (record.state, record.request, record.reply) == (State.FORGOTTEN, None, None)
    journal.close()


def test_opens_a_file_of_before_intents_could_be_forgotten(path):
    old = sqlite3.connect(path)
    old.executescript(
        "CREATE TABLE intents (intent_id TEXT PRIMARY KEY, state TEXT NOT NULL CHECK (state IN ('RECEIVED', 'CALLING',"
        " 'RESULT', 'REFUSED', 'TOMBSTONE')), request TEXT, reply TEXT, correlation_id TEXT NOT NULL DEFAULT '',"
        " received_at REAL, called_at REAL, called_utc REAL, done_at REAL) STRICT;"
        "CREATE INDEX intents_called_at ON intents (called_at);"
        "CREATE INDEX intents_calling ON intents (state) WHERE state = 'CALLING';"
        """INSERT INTO intents VALUES ('a', 'RESULT', '{}', '{"ok": true}', '', 1.0, 2.0, 3.0, 4.0);"""
    )
    old.close()

    journal = Journal(path)

    record = journal.settle("a")
    assert (record.state, record.reply, record.called_utc) == (State.RESULT, {"ok": True}, 3.0)
    assert journal.forget(done_before=5.0) == 1
    journal.close()


def test_remembers_the_server_s_clock_and_tells_when_it_changes(path):
    journal = Journal(path)
    assert journal.offset() is None
    assert [journal.note_offset(7200, at=1.0), journal.note_offset(7200, at=2.0)] == [False, False]
    assert journal.offset() == (7200, 2.0)
    assert journal.note_offset(10800, at=3.0)
    journal.close()

    again = Journal(path)
    assert again.offset() == (10800, 3.0)
    again.close()


def test_counts_only_what_may_add_risk(journal):
    for name, request in {
        "open": {"action": 1}, "close": {"action": 1, "position": 5}, "rest": {"action": 5}, "stops": {"action": 6},
        "modify": {"action": 7}, "remove": {"action": 8}, "close by": {"action": 10, "position": 5},
    }.items():  # fmt: skip
        journal.receive(name, request, correlation_id="")
        journal.claim(name, request, called_utc=1.0)

    assert journal.orders_since(0) == 3


def test_every_step_but_the_first_waits_for_the_disk(journal):
    """How the file is written cannot be seen from outside: SQLite is asked what it was told before each change."""
    told: list[str] = []
    journal._database.set_trace_callback(told.append)
    receive(journal)
    with pytest.raises(TypeError):
        journal.receive("i2", {"price": object()}, correlation_id="c")
    journal.claim("i1", REQUEST, called_utc=1.0)
    journal.finish("i1", {"ok": True})
    journal.settle("i3")

    is_full, waited = True, {}
    for statement in told:
        if statement.startswith("PRAGMA"):
            is_full = statement.endswith("FULL")
        elif not statement.startswith("SELECT"):
            waited[statement.split("'")[1]] = is_full

    assert waited == {"i1": False, "CALLING": True, "RESULT": True, "i3": True}
    assert journal._database.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL, and not EXTRA or NORMAL
