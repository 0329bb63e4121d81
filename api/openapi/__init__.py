"""Step 2 of 9, described for machines: our OpenAPI document, one module for each group of users.

build() assembles it. Nothing of it is read by the code that answers requests; tests hold the two together.
"""

from api.openapi.document import build

__all__ = ["build"]
