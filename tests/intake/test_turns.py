"""Turns are handed on in order, so nobody starves behind a giant batch."""

from __future__ import annotations

import threading
import time

import pytest

from intake.turns import Turns


def test_a_small_request_waits_for_one_turn_of_a_giant_one_and_not_for_all() -> None:
    turns = Turns()
    order: list[str] = []
    begun = threading.Event()

    def giant() -> None:
        for _ in range(50):
            with turns:
                order.append("giant")
                begun.set()
                time.sleep(0.002)

    def small() -> None:
        with turns:
            order.append("small")

    first = threading.Thread(target=giant)
    first.start()
    begun.wait(5)
    second = threading.Thread(target=small)
    second.start()
    first.join(10)
    second.join(10)
    assert order.index("small") < 10


def test_never_two_at_once_and_everybody_gets_through() -> None:
    turns = Turns()
    inside = 0
    most = 0
    done = []

    def work() -> None:
        nonlocal inside, most
        for _ in range(200):
            with turns:
                inside += 1
                most = max(most, inside)
                inside -= 1
        done.append(True)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 1
    assert len(done) == 8


def test_a_turn_ends_with_an_exception_too() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError), turns:
        raise ZeroDivisionError
    with turns:
        pass
