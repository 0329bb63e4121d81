"""Step 2 of 9: read what a request brings, exactly, or say what is wrong with it.

Arguments are strict: an unknown or a repeated one is refused, for a misspelt `reciepts=true` that is
silently ignored costs its sender a receipt. Bodies are read whole, within bounds, and compared with the
length they announced: half a batch must never pass for a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from urllib.parse import parse_qsl

from flask import request
from werkzeug.exceptions import ClientDisconnected

from api.errors import LengthMissing, MediaTypeNotTaken, RequestMalformed, RequestTooLarge

JOSE = "application/jose"
JWS_LINES = "application/vnd.tallystick.jws-lines"

ARGUMENT_LENGTH_MAX = 2048  # a Digital Link with every qualifier is under 300 characters
INTEGER_DIGITS_MAX = 19
INTEGER_MAX = 2**63 - 1  # positions are below 2**63


def read_arguments(*names: str) -> dict[str, str]:
    """The arguments of Flask's request, each of them known and given once.

    Raises RequestMalformed, its pointer naming the argument.
    """
    return check_arguments(request.args.lists(), names)


def query_arguments(query: str) -> Iterable[tuple[str, list[str]]]:
    """The arguments of a query, each with all its values, as Flask reads them."""
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="werkzeug.url_quote"):
        found.setdefault(name, []).append(value)
    return found.items()


def check_arguments(given: Iterable[tuple[str, list[str]]], names: Collection[str]) -> dict[str, str]:
    """Those that are given, each of them known and given once. Raises RequestMalformed."""
    found: dict[str, str] = {}
    for name, values in given:
        if name not in names:
            known = ", ".join(names) or "none"
            raise RequestMalformed(
                "http.argument.unknown", f"there is no argument {name[:80]!r} here; known: {known}"
            )
        if len(values) != 1:
            raise RequestMalformed(
                "http.argument.repeated", f"{name} is given {len(values)} times", f"/{name}"
            )
        if len(values[0]) > ARGUMENT_LENGTH_MAX:
            raise RequestMalformed(
                "http.argument.length",
                f"{name} has {len(values[0])} characters; at most {ARGUMENT_LENGTH_MAX}",
                f"/{name}",
            )
        found[name] = values[0]
    return found


def require_text(arguments: dict[str, str], name: str) -> str:
    """One argument that must be there and not be empty."""
    value = arguments.get(name, "")
    if not value:
        raise RequestMalformed("http.argument.missing", f"{name} is missing", f"/{name}")
    return value


def require_integer(arguments: dict[str, str], name: str) -> int:
    """One argument that must be a whole number from 0, in plain decimal digits."""
    return parse_integer(require_text(arguments, name), name)


def parse_integer(text: str, name: str) -> int:
    """Decimal digits without sign, space or leading zero: one number has one spelling, and one cache key."""
    plain = text.isascii() and text.isdigit() and len(text) <= INTEGER_DIGITS_MAX
    # Above it is no position, and no store has a number for it.
    if not plain or (text[0] == "0" and text != "0") or int(text) > INTEGER_MAX:
        raise RequestMalformed(
            "http.argument.integer",
            f"{name} is {text[:40]!r}; it must be a whole number like 0 or 41",
            f"/{name}",
        )
    return int(text)


def read_flag(arguments: dict[str, str], name: str) -> bool:
    """An argument that is true or false, and false where it is not given."""
    value = arguments.get(name, "false")
    if value not in ("true", "false"):
        raise RequestMalformed(
            "http.argument.flag", f"{name} is {value[:40]!r}; it must be true or false", f"/{name}"
        )
    return value == "true"


def require_media_type(taken: Collection[str]) -> str:
    """The media type of the body of Flask's request, one of those taken here."""
    return check_media_type(taken, request.headers.get)


def check_media_type(taken: Collection[str], header: Callable[[str], str | None]) -> str:
    """The body's media type, one of those taken here. Parameters such as charset are ignored."""
    given = (header("Content-Type") or "").partition(";")[0].strip().lower()
    if given not in taken:
        what = f"a body of type {given[:80]!r}" if given else "a body without Content-Type"
        raise MediaTypeNotTaken(
            "http.media-type",
            f"{what} is not read here; taken: {', '.join(sorted(taken))}",
            tuple(sorted(taken)),
        )
    coding = (header("Content-Encoding") or "identity").strip().lower()
    if coding != "identity":
        # A compressed body could be small at the door and anything behind it.
        raise MediaTypeNotTaken(
            "http.content-encoding", f"a body in {coding[:40]!r} coding is not read here; send it plain"
        )
    return given


def content_length(header: Callable[[str], str | None]) -> int | None:
    """What the body's length is said to be; None if it is not said, or a chunked body says two things."""
    if header("Transfer-Encoding") is not None:
        return None
    given = header("Content-Length") or ""
    return int(given) if given.isascii() and given.isdigit() and len(given) <= INTEGER_DIGITS_MAX else None


def check_length(announced: int | None, size_max: int) -> int:
    """The length of a body that may be read. Raises LengthMissing, RequestTooLarge or RequestMalformed."""
    if announced is None:
        # A chunked body that breaks off reaches us like one that ended: the server in front does not
        # say. At the end of a line, half a batch would pass for a whole one.
        raise LengthMissing("http.body.length", "the body must come with its Content-Length")
    if announced > size_max:
        raise RequestTooLarge(
            "http.body.size", f"the body has {announced} bytes; at most {size_max} are read here"
        )
    if announced == 0:
        raise RequestMalformed("http.body.empty", "the body is empty")
    return announced


def read_body(size_max: int) -> bytes:
    """The whole body of Flask's request, exactly as long as it said it would be, and at most size_max bytes.

    Raises LengthMissing for a body without Content-Length, RequestTooLarge before anything is read,
    and RequestMalformed for a torn or an empty body.
    """
    announced = check_length(content_length(request.headers.get), size_max)
    try:
        body = request.get_data(cache=False)
    except ClientDisconnected as error:
        raise torn("fewer", announced) from error
    # Servers that mark the end of input themselves hand over a torn body without a word.
    if len(body) != announced:
        raise torn(str(len(body)), announced)
    return body


def torn(length: str, announced: int) -> RequestMalformed:
    """The fault of a body that ended before its time."""
    return RequestMalformed(
        "http.body.truncated",
        f"the body has {length} bytes and announced {announced}: nothing of it was used",
    )


def split_lines(body: bytes, lines_max: int) -> list[bytes]:
    """The lines of a body, without their line feeds; a last one may be there or not.

    Nothing is stripped: a digest is of exactly the bytes that stand in the line.
    """
    count = body.count(b"\n") + (not body.endswith(b"\n"))
    if count > lines_max:
        raise RequestTooLarge(
            "http.body.lines", f"the body has {count} lines; at most {lines_max} are taken at once"
        )
    lines = body.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines
