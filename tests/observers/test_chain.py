"""What a check finds: every change of a line, and of the order of lines."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtls_client.observers._chain import Head, begun, torn, written
from tests.observers.samples import checked

KEY = b"0123456789abcdef"


def log(count: int, key: bytes | None = None) -> list[bytes]:
    """Return the lines of a log with some events."""
    lines, head = [], None
    contents = [{"event": "LogBegun", **begun(key)}]
    contents += [{"event": "HandshakeCompleted", "host": f"h{n}"} for n in range(count)]
    for content in contents:
        line, head = written({"at": "2026-11-25T12:00:00.000000Z", **content}, head, key)
        lines.append(line)
    return lines


LOGS = {None: log(8), KEY: log(8, KEY)}
keys = st.sampled_from([None, KEY])


def broken(lines: list[bytes], key: bytes | None) -> bool:
    verdict, _ = checked(lines, key=key)
    return bool(verdict.problems)


@pytest.mark.parametrize("key", [None, KEY])
def test_an_untouched_log_is_intact(key: bytes | None) -> None:
    verdict, lines = checked(LOGS[key], key=key)
    assert (verdict.problems, verdict.notes, verdict.lines) == ([], [], 9)
    assert [line["seq"] for line in lines] == list(range(9))
    assert verdict.head == Head(8, json.loads(LOGS[key][-1])["hash"])


@given(keys, st.integers(min_value=0), st.integers(0, 255))
def test_every_changed_byte_is_found(key: bytes | None, where: int, byte: int) -> None:
    data = bytearray(b"".join(LOGS[key]))
    where %= len(data)
    if data[where] == byte:
        byte ^= 1
    data[where] = byte
    assert broken(bytes(data).splitlines(keepends=True), key)
    # as a file is read, where only a line feed ends a line
    assert broken([one + b"\n" for one in bytes(data).split(b"\n")[:-1]], key)


@given(keys, st.integers(min_value=0), st.integers(1, 400))
def test_every_removed_or_cut_piece_is_found(key: bytes | None, where: int, count: int) -> None:
    data = b"".join(LOGS[key])
    where %= len(data) - len(LOGS[key][-1])  # whole lines at the end are what --head is for
    shorter = data[:where] + data[where + count :]
    assert broken(shorter.splitlines(keepends=True), key)


@given(keys, st.permutations(range(9)))
def test_every_other_order_is_found(key: bytes | None, order: list[int]) -> None:
    lines = [LOGS[key][number] for number in order]
    assert broken(lines, key) == (order != sorted(order))


@given(keys, st.integers(0, 8), st.integers(0, 9))
def test_every_repeated_line_is_found(key: bytes | None, which: int, where: int) -> None:
    lines = list(LOGS[key])
    lines.insert(where, lines[which])
    assert broken(lines, key)


@given(keys, st.sets(st.integers(0, 8), min_size=1))
def test_every_removed_line_is_found_by_the_lines_after_it_or_by_the_head(
    key: bytes | None, gone: set[int]
) -> None:
    lines = [line for number, line in enumerate(LOGS[key]) if number not in gone]
    verdict, _ = checked(lines, key=key, head=json.loads(LOGS[key][-1])["hash"])
    assert verdict.problems or not verdict.met


def test_the_end_can_be_cut_unseen_without_a_head() -> None:
    """What the documentation says that a chain cannot prove."""
    verdict, _ = checked(LOGS[None][:5])
    assert verdict.problems == []
    verdict, _ = checked(LOGS[None], head=json.loads(LOGS[None][4])["hash"])
    assert verdict.met, "a head that was noted earlier is found in a log that has grown"


def test_a_tail_written_anew_takes_the_key() -> None:
    """Without one it is unseen but for the head; with one it is not."""

    def forged(key: bytes | None) -> list[bytes]:
        lines = LOGS[key][:5]
        head = Head(4, json.loads(lines[-1])["hash"])
        content = {"at": "2026-11-25T12:00:00.000000Z", "event": "HandshakeCompleted"}
        return [*lines, written(content, head, None)[0]]

    assert not broken(forged(None), None)
    assert broken(forged(KEY), KEY)


def test_a_log_written_anew_without_the_key_is_no_log_with_it() -> None:
    verdict, _ = checked(LOGS[None], key=KEY)
    assert [one.message for one in verdict.problems] == ["written without a key"]


def test_another_key_or_none_does_not_check() -> None:
    assert broken(LOGS[KEY], b"another key, long enough")
    verdict, _ = checked(LOGS[KEY])
    assert verdict.keyed
    assert not verdict.hashed


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (lambda lines: lines.pop(3), 4, "has number 4 after 2: lines are missing before it"),
        (lambda lines: lines.pop(0), 1, "has number 1: the beginning is missing"),
        (lambda lines: lines.insert(4, lines[3]), 5, "has number 3 after 3: repeated, or moved"),
        (
            lambda lines: lines.__setitem__(3, lines[3].replace(b"h2", b"h9")),
            4,
            "changed: its hash is not that of its content",
        ),
        (lambda lines: lines.insert(3, b"hello\n"), 4, "not a line of an audit log"),
        (
            lambda lines: lines.__setitem__(-1, lines[-1][:-9]),
            9,
            "incomplete: torn by a crash, or cut",
        ),
        (lambda lines: lines.clear(), 1, "the file is empty"),
    ],
)
def test_a_problem_is_named_once_where_it_is(change: object, line: int, message: str) -> None:
    lines = list(LOGS[None])
    change(lines)  # type: ignore[operator]
    verdict, _ = checked(lines)
    assert [(one.line, one.message) for one in verdict.problems] == [(line, message)]


def test_a_line_whose_hash_was_made_anew_is_found_by_the_next() -> None:
    lines = list(LOGS[None])
    lines[3], _ = written(
        {"at": "", "event": "Forged"}, Head(2, json.loads(lines[2])["hash"]), None
    )
    verdict, _ = checked(lines)
    [problem] = verdict.problems
    assert (problem.line, problem.message) == (
        5,
        "does not follow the line before it: one of them was replaced",
    )


def test_a_torn_line_is_excused_by_the_line_that_describes_it_and_no_other() -> None:
    head = Head(8, json.loads(LOGS[None][-1])["hash"])
    remains = b'{"seq":9,"pre'
    said, _ = written({"at": "", "event": "LineTorn", **torn(remains)}, head, None)
    verdict, _ = checked([*LOGS[None], remains + b"\n", said])
    assert verdict.problems == []
    assert [(one.line, one.message[:4]) for one in verdict.notes] == [(10, "torn")]
    verdict, _ = checked([*LOGS[None], remains[:-1] + b"\n", said])
    assert [one.line for one in verdict.problems] == [10]


def test_a_changed_line_is_not_excused_as_torn() -> None:
    """Whoever changes the last line and waits for a writer to call it torn is found."""
    lines = list(LOGS[None])
    lines[-1] = lines[-1].replace(b"h7", b"h8")
    head = Head(7, json.loads(lines[-2])["hash"])
    said, _ = written({"at": "", "event": "LineTorn", **torn(lines[-1])}, head, None)
    verdict, _ = checked([*lines, said])
    assert [one.message[:7] for one in verdict.problems][:1] == ["changed"]


def test_the_format_can_be_checked_without_this_library(tmp_path: Path) -> None:
    """As docs/observability.md describes it."""
    prev = "0" * 64
    for number, line in enumerate(LOGS[None]):
        body, hash_ = line.rstrip(b"\n").removesuffix(b'"}').rsplit(b',"hash":"', 1)
        members = json.loads(line)
        assert (members["seq"], members["prev"]) == (number, prev)
        prev = hashlib.sha256(body).hexdigest()
        assert prev == hash_.decode() == members["hash"]


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_no_input_breaks_the_check(lines: list[bytes]) -> None:
    verdict, _ = checked([line + b"\n" for line in lines])
    assert verdict.problems
