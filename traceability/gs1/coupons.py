"""Step 4 of 9: North American coupon codes, AI (8110) and AI (8112). Digits that say how many digits follow.

A cursor walks through the fields; each field takes what it needs or says what is missing.
Source: GS1 US, North American Coupon Application Guideline; GS1 AI (8112) Coupon Data Specification.
"""

from __future__ import annotations

from datetime import date

Wrong = tuple[str, str, int, int]  # as in value_checks: code, sentence, first character, how many
CODE = "gs1.coupon"


class _Broken(Exception):
    def __init__(self, sentence: str, at: int, count: int) -> None:
        super().__init__(sentence)
        self.wrong: Wrong = (CODE, sentence, at, count)


class _Cursor:
    def __init__(self, text: str) -> None:
        for i, character in enumerate(text):
            if character not in "0123456789":
                raise _Broken(f"{character!r} is no digit", i, 1)
        self.text, self.at = text, 0

    def at_end(self) -> bool:
        return self.at == len(self.text)

    def next_is(self, digit: str) -> bool:
        if self.text[self.at : self.at + 1] != digit:
            return False
        self.at += 1
        return True

    def take(self, count: int, what: str) -> str:
        taken = self.text[self.at : self.at + count]
        if len(taken) < count:
            raise _Broken(f"the {what} has {len(taken)} of {count} digits", self.at, len(taken))
        self.at += count
        return taken

    def choose(self, allowed: str, what: str) -> str:
        digit = self.take(1, what)
        if digit not in allowed:
            raise _Broken(f"{digit} is no {what}; expected one of {allowed}", self.at - 1, 1)
        return digit

    def sized(self, allowed: str, more: int, what: str) -> None:
        """A digit that says how long the field is, less `more`, and the field."""
        self.take(int(self.choose(allowed, f"length of the {what}")) + more, what)

    def day(self, what: str) -> str:
        at, text = self.at, self.take(6, what)
        try:
            date(2000 + int(text[:2]), int(text[2:4]), int(text[4:]))
        except ValueError as e:
            raise _Broken(f"{text} is no {what}", at, 6) from e
        return text


def check_coupon(text: str) -> Wrong | None:
    """What is wrong with a coupon code of AI (8110), if anything is."""
    try:
        cursor = _Cursor(text)
        cursor.sized("0123456", 6, "company prefix")
        cursor.take(6, "offer code")
        cursor.sized("12345", 0, "save value")
        _purchase(cursor, "first purchase")
        if cursor.next_is("1"):
            cursor.choose("0123", "additional purchase rule")
            _purchase(cursor, "second purchase")
            _funder(cursor, "second purchase")
        if cursor.next_is("2"):
            _purchase(cursor, "third purchase")
            _funder(cursor, "third purchase")
        expiry = cursor.day("expiry date") if cursor.next_is("3") else None
        if cursor.next_is("4"):
            start = cursor.day("start date")
            if expiry is not None and start > expiry:
                raise _Broken(f"it expires ({expiry}) before it starts ({start})", cursor.at - 6, 6)
        if cursor.next_is("5"):
            cursor.sized("0123456789", 6, "serial number")
        if cursor.next_is("6"):
            cursor.sized("1234567", 6, "retailer's number")
        if cursor.next_is("9"):
            cursor.choose("01256", "save value code")
            cursor.choose("012", "item that the save value applies to")
            cursor.take(1, "store coupon flag")
            cursor.choose("01", "do-not-multiply flag")
        _end(cursor)
    except _Broken as broken:
        return broken.wrong
    return None


def check_offer(text: str) -> Wrong | None:
    """What is wrong with a coupon code of AI (8112), if anything is."""
    try:
        cursor = _Cursor(text)
        cursor.choose("01", "format")
        cursor.sized("0123456", 6, "funder's number")
        cursor.take(6, "offer code")
        cursor.sized("0123456789", 6, "serial number")
        _end(cursor)
    except _Broken as broken:
        return broken.wrong
    return None


def _purchase(cursor: _Cursor, what: str) -> None:
    cursor.sized("12345", 0, f"requirement of the {what}")
    cursor.choose("012349", f"requirement code of the {what}")
    cursor.take(3, f"family code of the {what}")


def _funder(cursor: _Cursor, what: str) -> None:
    # 9 says that there is none of its own: the first one's counts.
    if not cursor.next_is("9"):
        cursor.sized("0123456", 6, f"company prefix of the {what}")


def _end(cursor: _Cursor) -> None:
    if not cursor.at_end():
        raise _Broken("there is more behind its end", cursor.at, len(cursor.text) - cursor.at)
