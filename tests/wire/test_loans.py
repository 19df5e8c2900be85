"""Loans: what is lent is read as it was, or not at all, and its memory is used again."""

from __future__ import annotations

import os
import threading

import pytest

from zmqtasks.options import MIB
from zmqtasks.wire import lending, loans
from zmqtasks.wire.lending import Pool
from zmqtasks.wire.loans import LoanLost, borrow_by_name, borrowed, borrowed_to_give_back, can_borrow

pytestmark = pytest.mark.skipif(not loans.AVAILABLE, reason="memory files are of Linux")


def lent(pool: Pool, *parts: bytes) -> loans.Loan:
    loan = pool.write(parts)
    assert loan is not None
    return loan


def test_a_loan_is_read_whole_in_parts_and_into_a_buffer() -> None:
    pool = Pool()
    loan = lent(pool, b"abc", b"", b"defgh")
    assert len(loan) == 8
    assert loan.read() == b"abcdefgh"
    assert loan.read(2, 5) == b"cde"
    target = bytearray(3)
    loan.read_into(5, target)
    assert target == b"fgh"
    with loan.at_hand() as view:
        assert view == b"abcdefgh"
    pool.close()


def test_another_reads_it_by_its_name() -> None:
    pool = Pool()
    loan = lent(pool, b"x" * 100_000)
    other = borrow_by_name(os.getpid(), loan.fd, loan.token, len(loan))
    assert other.read() == b"x" * 100_000
    assert can_borrow(os.getpid(), loan.fd, loan.token)
    assert not can_borrow(os.getpid(), loan.fd, loan.token + 1)
    pool.close()


def test_what_is_no_loan_is_not_opened() -> None:
    reader, writer = os.pipe()
    for number in (reader, 9_999):
        with pytest.raises(LoanLost, match="loan"):
            borrow_by_name(os.getpid(), number, 1, 10)
    assert not can_borrow(2**22 + 1, 0, 1)
    os.close(reader)
    os.close(writer)


def test_memory_is_used_again_and_a_late_reader_is_told() -> None:
    pool = Pool()
    loan = lent(pool, b"first" * 10)
    fd = loan.fd
    late = borrow_by_name(os.getpid(), fd, loan.token, len(loan))
    del loan
    second = lent(pool, b"second")
    assert second.fd == fd
    for read in (late.read, lambda: late.read_into(0, bytearray(6)), lambda: late.at_hand().__enter__()):
        with pytest.raises(LoanLost, match="used the memory again"):
            read()
    with pytest.raises(LoanLost, match="expected"):
        borrowed(os.dup(fd), 10_000, second.token).read()
    del second
    pool.close()


def test_a_borrower_gives_back_what_its_lender_waits_for() -> None:
    pool = Pool(told=True)
    loan = lent(pool, b"result")
    fd, other = loan.fd, borrowed_to_give_back(os.dup(loan.fd), len(loan), loan.token)
    del loan  # the lender has sent it; it is still lent
    assert lent(pool, b"next").fd != fd
    assert other.read() == b"result"
    del other
    assert lent(pool, b"third").fd == fd
    pool.close()


def test_the_smallest_that_is_large_enough_is_taken_else_the_largest_grows() -> None:
    pool = Pool()
    small, large = lent(pool, bytes(1_000)), lent(pool, bytes(5_000))
    small_fd, large_fd = small.fd, large.fd
    del small, large
    first, second = lent(pool, bytes(900)), lent(pool, bytes(6_000))
    assert (first.fd, second.fd) == (small_fd, large_fd)
    assert len(second.read()) == 6_000
    pool.close()


def test_little_is_kept_idle_and_not_everything_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lending, "IDLE_BYTES", MIB)
    monkeypatch.setattr(lending, "MOST_LOANS", 3)
    before = len(os.listdir("/proc/self/fd"))
    pool = Pool()
    held = [lent(pool, bytes(600_000)) for _ in range(3)]
    assert pool.write([b"one more"]) is None
    held.clear()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    kept = lent(pool, b"kept over the end")
    pool.close()
    assert kept.read() == b"kept over the end"
    del kept
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_may_end_in_any_thread() -> None:
    pool = Pool()
    box = [lent(pool, b"x")]
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    assert lent(pool, b"y").read() == b"y"
    pool.close()


def test_without_memory_nothing_is_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, flags: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "memfd_create", refuse)
    assert Pool().write([b"x"]) is None


def test_many_parts_are_one_body() -> None:
    pool = Pool()
    parts = [bytes([n % 256]) * 3 for n in range(2_000)]
    assert lent(pool, *parts).read() == b"".join(parts)
    pool.close()
