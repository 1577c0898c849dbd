"""Invocation counters: none is given out twice, none is accepted twice, whatever happens to gateway and disk."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from core import counter_file, counters
from core.clock import SystemClock
from core.counters import BLOCK, FIRST_BLOCK, HIGHEST, STEP, InvocationCounters, fingerprint
from core.dlms.errors import CounterError
from core.store import Store

KEY, OTHER_KEY = bytes(range(16)), bytes(range(16, 32))
ALICE, BOB = b"ABC\0\0\0\0\1", b"ABC\0\0\0\0\2"
OVER = 1 << 28
"""More than a sending counter that started at 0 has reached in any test, less than what the time gives."""


class StoppedClock:
    """Shows one moment: the one clock that a test sets."""

    def __init__(self, ms: int) -> None:
        self.ms = ms

    def now_ms(self) -> int:
        return self.ms

    def seconds_until(self, moment_ms: int) -> float:
        return max(moment_ms - self.ms, 0) / 1000


class Plant:
    """A state directory with database and live file, in which counters live and die."""

    def __init__(self, path: Path) -> None:
        self.database = path / "gateway.db"
        self.live = path / "counters.live"
        self.clock = StoppedClock(1_800_000_000_000)  # in 2027

    @asynccontextmanager
    async def running(
        self, key: bytes = KEY, *, fresh: bool = True, crash: bool = False
    ) -> AsyncIterator[InvocationCounters]:
        """A run of the gateway; one that crashes leaves database and file as they are at its end."""
        store = await Store.open(self.database)
        running = await InvocationCounters.open(store, self.live, key, fresh, self.clock)
        yield running
        if not crash:
            await running.close()
        await store.close()

    def power_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on it is another boot; the file itself may have survived it."""
        path = self.live.with_name("boot_id")
        path.write_text(f"{os.urandom(18).hex()}\n")
        monkeypatch.setattr(counter_file, "_BOOT_ID", path)

    def ceiling(self, title: bytes, key: bytes = KEY) -> int:
        plain = sqlite3.connect(self.database)
        found: int = plain.execute(
            "SELECT ceiling FROM invocation_counter WHERE key = ? AND title = ?", (fingerprint(key), title)
        ).fetchone()[0]
        plain.close()
        return found


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


async def accept(running: InvocationCounters, title: bytes, counter: int) -> None:
    wait = running.accept(title, counter)
    if wait is not None:
        await wait


async def send(running: InvocationCounters) -> int:
    """A number to send; where none is reserved, the next that is."""
    async with asyncio.timeout(20):
        while True:
            try:
                return running.next()
            except CounterError:
                await asyncio.sleep(0.002)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_new_key_starts_at_the_bottom(plant: Plant) -> None:
    """The first number sent is 1; of clients nothing is known, and a head-end may begin with 0."""
    async with plant.running() as running:
        assert [running.next(), running.next(), running.next()] == [1, 2, 3]
        assert running.last(ALICE) == -1
        assert running.highest() == 0
        await accept(running, ALICE, 0)
        assert running.last(ALICE) == 0


async def test_what_was_accepted_is_refused(plant: Plant) -> None:
    """The same number and any below, of each client for itself; the highest of all is shown."""
    async with plant.running() as running:
        await accept(running, ALICE, 5000)
        await accept(running, BOB, 7)
        for title, counter in ((ALICE, 5000), (ALICE, 4999), (ALICE, 0), (BOB, 7)):
            with pytest.raises(CounterError, match="was used before"):
                running.accept(title, counter)
        assert (running.last(ALICE), running.last(BOB), running.highest()) == (5000, 7, 5000)
        await accept(running, BOB, 8)
        for no_counter in (HIGHEST + 1, -1):
            with pytest.raises(CounterError):
                running.accept(b"ABC\0\0\0\0\3", no_counter)
        with pytest.raises(CounterError, match="8 bytes"):
            running.accept(b"short", 1)


async def test_a_frame_that_waits_for_the_disk_cannot_come_in_by_another_connection(plant: Plant) -> None:
    """It is refused at once, and the one that waits is acted upon only once."""
    async with plant.running() as running:
        waiting = running.accept(ALICE, 100)
        assert waiting is not None
        with pytest.raises(CounterError):
            running.accept(ALICE, 100)
        await waiting
        assert plant.ceiling(ALICE) >= 100


async def test_many_frames_wait_for_the_disk_once(plant: Plant) -> None:
    """Those that go on in steps wait for nothing, and the ceiling rises ahead of them."""
    async with plant.running() as running:
        await accept(running, ALICE, 1)
        for counter in range(2, STEP // 2):
            assert running.accept(ALICE, counter) is None
        far = [running.accept(ALICE, counter) for counter in (5 * STEP, 9 * STEP)]
        await asyncio.gather(*(wait for wait in far if wait is not None))
        assert plant.ceiling(ALICE) >= 9 * STEP
        reached = 9 * STEP + STEP * 3 // 4
        assert running.accept(ALICE, reached) is None
        await until(lambda: plant.ceiling(ALICE) >= reached + STEP)


async def test_a_clean_stop_keeps_exact_values(plant: Plant) -> None:
    """In the database, so that it holds over a boot."""
    async with plant.running() as running:
        await accept(running, ALICE, 10)
        sent = [running.next() for _ in range(5)][-1]
    assert (plant.ceiling(b""), plant.ceiling(ALICE)) == (sent, 10)
    with pytest.raises(CounterError, match="stopping"):
        running.next()
    async with plant.running() as running:
        assert running.next() == sent + 1
        assert running.last(ALICE) == 10
        with pytest.raises(CounterError):
            running.accept(ALICE, 10)
        await accept(running, ALICE, 11)


async def test_a_clean_stop_holds_over_a_boot(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost where the machine goes down in order."""
    async with plant.running() as running:
        await accept(running, ALICE, 10)
        assert running.next() == 1
    plant.power_cut(monkeypatch)
    async with plant.running() as running:
        assert (running.last(ALICE), running.next()) == (10, 2)


async def test_after_a_crash_a_client_goes_on_and_sending_jumps(plant: Plant) -> None:
    """The client's counter is exact; what was reserved for sending is given up."""
    async with plant.running(crash=True) as running:
        await accept(running, ALICE, 10)
        assert running.accept(ALICE, 11) is None
        assert running.next() == 1
    async with plant.running(crash=True) as running:
        assert running.last(ALICE) == 11
        with pytest.raises(CounterError):
            running.accept(ALICE, 11)
        await accept(running, ALICE, 12)
        assert running.next() == FIRST_BLOCK + 1
    async with plant.running() as running:
        assert (running.last(ALICE), running.next()) == (12, 2 * FIRST_BLOCK + 1)


@pytest.mark.parametrize("known", [False, True])
async def test_a_crash_between_database_and_file_locks_no_client_out(plant: Plant, known: bool) -> None:
    """The ceiling is on disk already, the counter was not accepted yet: the client can say it again."""
    async with plant.running(crash=True) as running:
        if known:
            await accept(running, ALICE, 10)
        waiting = running.accept(ALICE, 5000)
        kept = plant.live.read_bytes()
        assert waiting is not None
        await waiting
        assert plant.ceiling(ALICE) > 5000
    plant.live.write_bytes(kept)
    async with plant.running() as running:
        assert running.last(ALICE) == (10 if known else -1)


async def test_after_a_power_cut_all_goes_on_at_the_ceilings(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file says is then of another boot, and perhaps older than what was accepted."""
    async with plant.running(crash=True) as running:
        await accept(running, ALICE, 10)
        assert running.accept(ALICE, 20) is None
    plant.power_cut(monkeypatch)
    ceiling = plant.ceiling(ALICE)
    assert ceiling > 20
    async with plant.running() as running:
        assert running.last(ALICE) == ceiling
        assert FIRST_BLOCK < running.next() < OVER
        await accept(running, ALICE, ceiling + 1)


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "zeros", "header", "counters", "foreign"])
async def test_a_file_that_cannot_be_believed_leaves_the_ceilings(
    plant: Plant, tmp_path: Path, damage: str
) -> None:
    """Whatever happened to it, nothing is accepted twice, and nothing is sent twice."""
    async with plant.running(crash=True) as running:
        await accept(running, ALICE, 10)
        assert running.accept(ALICE, 20) is None
        sent = running.next()
    ceiling = plant.ceiling(ALICE)
    data = bytearray(plant.live.read_bytes())
    match damage:
        case "missing":
            plant.live.unlink()
        case "empty":
            plant.live.write_bytes(b"")
        case "short":
            plant.live.write_bytes(data[:-1])
        case "zeros":
            plant.live.write_bytes(bytes(len(data)))
        case "header":
            data[20] ^= 1
            plant.live.write_bytes(data)
        case "counters":
            at = data.index(ALICE)
            data[at + 8] ^= 1
            plant.live.write_bytes(data)
        case "foreign":
            (tmp_path / "other").mkdir()
            other = Plant(tmp_path / "other")
            async with other.running(crash=True) as stranger:
                await accept(stranger, ALICE, 3)
            shutil.copy(other.live, plant.live)
    async with plant.running(fresh=False) as running:
        assert running.last(ALICE) == ceiling
        assert running.next() > sent
        with pytest.raises(CounterError):
            running.accept(ALICE, 20)


async def test_a_value_above_its_ceiling_is_not_believed(plant: Plant) -> None:
    """A file that somebody has written into locks no client out for ever."""
    async with plant.running(crash=True) as running:
        await accept(running, ALICE, 10)
        ceiling = plant.ceiling(ALICE)
        running._file.put(0, fingerprint(KEY), 1, ALICE, HIGHEST)
    async with plant.running() as running:
        assert running.last(ALICE) == ceiling


async def test_an_older_file_of_this_database_is_not_believed(plant: Plant, tmp_path: Path) -> None:
    """One of an earlier run would let frames in again."""
    async with plant.running(crash=True) as running:
        await accept(running, ALICE, 10)
    shutil.copy(plant.live, tmp_path / "kept")
    for counter in (11, 12):
        async with plant.running(crash=True) as running:
            await accept(running, ALICE, counter)
    shutil.copy(tmp_path / "kept", plant.live)
    async with plant.running() as running:
        assert running.last(ALICE) > 12


async def test_a_start_that_fails_half_way_loses_nothing(plant: Plant) -> None:
    """The database knows the new run, the file is that of the run before: both fit still."""
    async with plant.running(crash=True) as running:
        await accept(running, ALICE, 10)
        assert running.accept(ALICE, 20) is None
    kept = plant.live.read_bytes()
    for _ in range(2):
        async with plant.running(crash=True):
            pass
        plant.live.write_bytes(kept)
    async with plant.running() as running:
        assert running.last(ALICE) == 20
        assert running.next() < OVER


@pytest.mark.parametrize("file_too", [False, True])
async def test_a_database_that_was_put_back_leads_to_no_number_twice(
    plant: Plant, tmp_path: Path, file_too: bool
) -> None:
    """Whether the copy was made after a clean stop or meanwhile, and of this run or an earlier one."""
    sent = set()
    async with plant.running() as running:
        sent.add(running.next())
    shutil.copy(plant.database, tmp_path / "stopped.db")
    async with plant.running(crash=True) as running:
        plain = sqlite3.connect(plant.database)
        copy = sqlite3.connect(tmp_path / "meanwhile.db")
        plain.backup(copy)
        copy.close()
        plain.close()
        sent |= {running.next() for _ in range(FIRST_BLOCK - 1)}
        await until(lambda: plant.ceiling(b"") > 2 * FIRST_BLOCK)
        sent |= {running.next() for _ in range(FIRST_BLOCK)}
    for copied in ("meanwhile.db", "stopped.db"):
        for name in (plant.database.name + "-wal", plant.database.name + "-shm"):
            plant.database.with_name(name).unlink(missing_ok=True)
        shutil.copy(tmp_path / copied, plant.database)
        if file_too:
            plant.live.unlink()
            plant.clock.ms += 3_600_000
        async with plant.running(fresh=False, crash=True) as running:
            numbers = {running.next() for _ in range(10)}
        assert not numbers & sent
        sent |= numbers


@pytest.mark.parametrize("file_too", [False, True])
async def test_a_lost_database_makes_sending_jump(plant: Plant, file_too: bool) -> None:
    """The key has stayed: by the time, the next number is above anything used; clients are all new."""
    async with plant.running(crash=True) as running:
        await accept(running, ALICE, 10)
        running.next()
    plant.database.unlink()
    if file_too:
        plant.live.unlink()
    async with plant.running(fresh=False) as running:
        assert running.next() == (plant.clock.ms - 1_735_689_600_000) // 1000 * 8 + 1
        assert running.last(ALICE) == -1


async def test_the_file_alone_keeps_sending_ahead_of_a_lost_database(plant: Plant) -> None:
    """Also where the time would not: more was sent than it foresees."""
    plant.clock.ms = 1_735_689_600_000 + 10_000
    async with plant.running(crash=True) as running:
        sent = [running.next() for _ in range(FIRST_BLOCK)]
    plant.database.unlink()
    async with plant.running(fresh=False) as running:
        assert running.next() > sent[-1]


@pytest.mark.parametrize("ms", [0, 1_735_689_600_000, 2_100_000_000_000])
async def test_a_clock_that_says_nothing_leaves_room(plant: Plant, ms: int) -> None:
    """Without a battery it shows 1970, and from 2033 on the time gives no more numbers: chance does, each time anew."""
    plant.clock.ms = ms
    starts = set()
    for _ in range(3):
        plant.database.unlink(missing_ok=True)
        plant.live.unlink(missing_ok=True)
        async with plant.running(fresh=False) as running:
            starts.add(running.next())
    assert len(starts) == 3
    assert all(1 << 31 <= start <= 3 << 30 for start in starts)


async def test_nothing_is_sent_that_is_not_reserved(plant: Plant) -> None:
    """Where the disk does not follow, sending ends with a sentence, and goes on when the disk does."""
    async with plant.running(crash=True) as running:
        other = sqlite3.connect(plant.database, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # the writer waits for this as it would for a slow disk
        assert plant.ceiling(b"") == FIRST_BLOCK
        sent = [running.next() for _ in range(FIRST_BLOCK)]
        with pytest.raises(CounterError, match="No invocation counter is reserved on disk"):
            running.next()
        assert sent == list(range(1, FIRST_BLOCK + 1))
        other.execute("ROLLBACK")
        other.close()
        await until(lambda: plant.ceiling(b"") > FIRST_BLOCK)
        await until(lambda: running._counters.sending.ceiling > FIRST_BLOCK)
        assert running.next() == FIRST_BLOCK + 1


async def test_blocks_are_reserved_ahead(plant: Plant) -> None:
    """Half a block before its end the next is on its way, so that sending never waits."""
    async with plant.running() as running:
        for _ in range(3):
            edge = plant.ceiling(b"")
            while running._counters.sending.last <= running._counters.sending.half:
                running.next()
            await until(lambda edge=edge: plant.ceiling(b"") > edge)  # type: ignore[misc]
            await until(lambda edge=edge: running._counters.sending.ceiling > edge)  # type: ignore[misc]
        assert plant.ceiling(b"") - running.next() >= BLOCK - 2


async def test_a_database_that_refuses_lets_nothing_in(plant: Plant) -> None:
    """Neither a new client nor one above its ceiling; the frame is refused for good."""
    async with plant.running(crash=True) as running:
        await accept(running, ALICE, 10)
        await running._store.close()
        waiting = running.accept(ALICE, 10 + 2 * STEP)
        assert waiting is not None
        with pytest.raises(CounterError, match="cannot be kept"):
            await waiting
        with pytest.raises(CounterError):
            running.accept(ALICE, 10 + 2 * STEP)
        waiting = running.accept(BOB, 1)
        assert waiting is not None
        with pytest.raises(CounterError, match="cannot be kept"):
            await waiting


async def test_the_end_of_the_counter_is_the_end_of_the_key(plant: Plant) -> None:
    """2^32-1 is never sent, over restarts too; a new key goes on."""
    async with plant.running():
        pass
    plain = sqlite3.connect(plant.database)
    with plain:
        plain.execute("UPDATE invocation_counter SET ceiling = ? WHERE title = x''", (HIGHEST - 4,))
    plain.close()
    async with plant.running(crash=True) as running:
        assert [running.next() for _ in range(3)] == [HIGHEST - 3, HIGHEST - 2, HIGHEST - 1]
        for _ in range(2):
            with pytest.raises(CounterError, match="transfer a new encryption key"):
                running.next()
    async with plant.running(crash=True) as running:
        with pytest.raises(CounterError, match="transfer a new encryption key"):
            running.next()
        await running.use_key(OTHER_KEY, fresh=True)
        assert running.next() == 1
    async with plant.running() as running:
        with pytest.raises(CounterError, match="transfer a new encryption key"):
            running.next()


async def test_a_client_at_the_end_of_its_counter_is_let_in_up_to_there(plant: Plant) -> None:
    """The last number is accepted, once."""
    async with plant.running() as running:
        await accept(running, ALICE, HIGHEST - 1)
        await accept(running, ALICE, HIGHEST)
        with pytest.raises(CounterError):
            running.accept(ALICE, HIGHEST)
        assert running.highest() == HIGHEST
    async with plant.running() as running:
        assert running.last(ALICE) == HIGHEST


async def test_counters_belong_to_their_key(plant: Plant) -> None:
    """A new key starts afresh; one that comes back goes on where it was, for sending and for clients."""
    async with plant.running() as running:
        await accept(running, ALICE, 500)
        assert running.next() == 1
        await running.use_key(OTHER_KEY, fresh=True)
        assert (running.next(), running.last(ALICE), running.highest()) == (1, -1, 0)
        await accept(running, ALICE, 3)
        await running.use_key(OTHER_KEY, fresh=True)
        assert (running.next(), running.last(ALICE)) == (2, 3)
        await running.use_key(KEY, fresh=True)
        assert (running.next(), running.last(ALICE)) == (2, 500)
    async with plant.running(OTHER_KEY, fresh=False) as running:
        assert (running.next(), running.last(ALICE)) == (3, 3)


async def test_preparing_a_key_changes_nothing_yet(plant: Plant) -> None:
    """Counters go on under the present one until the switch, and for ever where it never comes."""
    async with plant.running(crash=True) as running:
        await accept(running, ALICE, 5)
        switch = await running.prepare(OTHER_KEY, fresh=True)
        await accept(running, ALICE, 6)
        assert running.next() == 1
        assert running.last(ALICE) == 6
        switch()
        assert running.last(ALICE) == -1
        await accept(running, ALICE, 9)
        await running.prepare(KEY, fresh=True)
    async with plant.running(OTHER_KEY, fresh=False, crash=True) as running:
        assert running.last(ALICE) == 9
    async with plant.running(KEY, fresh=False) as running:
        assert running.last(ALICE) == 6


async def test_a_key_from_elsewhere_is_not_taken_for_a_new_one(plant: Plant) -> None:
    """Where nobody knows how far it was used, sending starts above."""
    async with plant.running() as running:
        await running.use_key(OTHER_KEY, fresh=False)
        assert running.next() > OVER


async def test_a_crash_right_after_a_switch_keeps_the_old_key_exact(plant: Plant) -> None:
    """Both keys have their place in the file until the values of the old one are in the database."""
    async with plant.running(crash=True) as running:
        await accept(running, ALICE, 5)
        switch = await running.prepare(OTHER_KEY, fresh=True)
        switch()
    async with plant.running(KEY, fresh=False) as running:
        assert running.last(ALICE) == 5


async def test_of_65_clients_the_one_silent_longest_gives_way(plant: Plant) -> None:
    """What it had sent is refused from any title that is not known, so that it comes in no other way."""
    titles = [b"ABC\0\0\0" + number.to_bytes(2, "big") for number in range(66)]
    async with plant.running(crash=True) as running:
        for number, title in enumerate(titles[:64]):
            await accept(running, title, 1000 - number)
        await accept(running, titles[0], 1001)  # heard again: now the second is the one silent longest
        await accept(running, titles[64], 1002)
        assert (running.last(titles[0]), running.last(titles[64])) == (1001, 1002)
        assert (running.last(titles[1]), running.last(titles[65])) == (999, 999)
        with pytest.raises(CounterError):
            running.accept(titles[1], 999)
        await accept(running, titles[1], 1000)
        assert running.last(titles[2]) == 999
    async with plant.running() as running:
        assert [running.last(title) for title in (titles[1], titles[64], titles[2])] == [1000, 1002, 999]
        assert running.highest() == 1002
    plain = sqlite3.connect(plant.database)
    assert plain.execute("SELECT count(*) FROM invocation_counter").fetchone() == (
        66,
    )  # and sending, and others
    plain.close()


async def test_of_more_clients_than_there_is_room_for_the_lowest_give_way(plant: Plant) -> None:
    """A kill can leave the row of one that gave way already; its counters are refused still."""
    async with plant.running() as running:
        await accept(running, ALICE, 5000)
    plain = sqlite3.connect(plant.database)
    with plain:
        plain.executemany(
            "INSERT INTO invocation_counter VALUES (?, ?, ?)",
            [(fingerprint(KEY), b"SURPLUS" + bytes([number]), 100 + number) for number in range(70)],
        )
    plain.close()
    size = plant.live.stat().st_size
    for last in (169, 170):
        async with plant.running(crash=True) as running:
            lasts = [running.last(b"SURPLUS" + bytes([number])) for number in range(70)]
            assert lasts == [106] * 7 + [100 + number for number in range(7, 69)] + [last]
            assert (running.last(BOB), running.last(ALICE)) == (106, 5000)
            await accept(running, b"SURPLUS" + bytes([69]), last + 1)
        assert plant.live.stat().st_size == size


async def test_clients_that_crowd_in_at_once_are_all_kept(plant: Plant) -> None:
    """Also those that give way while they wait for the disk are told the truth."""
    titles = [b"CROWD\0" + number.to_bytes(2, "big") for number in range(200)]
    async with plant.running() as running:
        waiting = [running.accept(title, 1000 + number) for number, title in enumerate(titles)]
        async with asyncio.timeout(20):
            await asyncio.gather(*(wait for wait in waiting if wait is not None))
        for number, title in enumerate(titles):
            assert running.last(title) >= 1000 + number
    async with plant.running() as running:
        for number, title in enumerate(titles):
            assert running.last(title) >= 1000 + number


@pytest.mark.parametrize("seed", range(8))
async def test_any_sequence_of_events_keeps_both_promises(
    plant: Plant, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers are sent once under a key; accepted ones are refused for ever; after all but a power cut or the loss of
    the file a client goes on with its next number."""
    chance = random.Random(seed)
    keys = [KEY, OTHER_KEY, bytes(16)]
    titles = [b"RANDOM\0" + bytes((number,)) for number in range(5)]
    sent: set[tuple[bytes, int]] = set()
    accepted: dict[tuple[bytes, bytes], int] = {}
    exact = True
    key = KEY
    for _ in range(12):
        async with plant.running(key, fresh=True, crash=chance.random() < 0.6) as running:
            for title in titles:
                known = accepted.get((key, title), -1)
                assert running.last(title) == known if exact else running.last(title) >= known
                accepted[key, title] = running.last(title)
            for _ in range(chance.randrange(60)):
                match chance.randrange(10):
                    case 0:
                        key = chance.choice(keys)
                        await running.use_key(key, fresh=True)
                        for title in titles:
                            assert running.last(title) >= accepted.get((key, title), -1)
                            accepted[key, title] = running.last(title)
                    case 1 | 2 | 3:
                        for _ in range(chance.choice((1, 10, 3000))):
                            number = await send(running)
                            assert (key, number) not in sent
                            sent.add((key, number))
                    case _:
                        title = chance.choice(titles)
                        last = running.last(title)
                        assert last >= accepted.get((key, title), -1)
                        if last >= 0:
                            with pytest.raises(CounterError):
                                running.accept(title, chance.randint(0, last))
                        counter = last + chance.choice((1, 1, 1, 2, 100, 400, 2000))
                        await accept(running, title, counter)
                        accepted[key, title] = counter
                await asyncio.sleep(0)
        exact = True
        match chance.randrange(8):
            case 0:
                plant.live.unlink()
                exact = False
            case 1:
                plant.power_cut(monkeypatch)
                exact = False


async def test_the_file_is_its_owners(plant: Plant) -> None:
    """Mode 0600."""
    async with plant.running():
        assert plant.live.stat().st_mode & 0o777 == 0o600


async def test_a_place_that_cannot_be_written_is_named(plant: Plant) -> None:
    """Without the file there is no start."""
    plant.live = plant.live.parent / "missing" / "counters.live"
    store = await Store.open(plant.database)
    with pytest.raises(CounterError, match=r"cannot be written to .*missing"):
        await InvocationCounters.open(store, plant.live, KEY, True, SystemClock())
    await store.close()


def test_the_file_of_today_has_its_boot() -> None:
    """Where the kernel tells none, nothing in the file is believed: here it tells one."""
    assert counter_file._boot_id().strip(b"\0")
    assert counters.STEP < counters.FIRST_BLOCK < counters.BLOCK
