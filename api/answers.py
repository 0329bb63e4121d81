"""Step 2 of 9, on the way back: one answer, before it belongs to a framework.

`POST /statements` is served by an event loop and by Flask alike: what both say is made here, once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import Response

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """headers: those of this answer alone; what every answer carries is added by who sends it."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)

    def as_flask(self) -> Response:
        response = Response(self.body, status=self.status, content_type=self.content_type)
        response.headers.update(self.headers)
        return response
