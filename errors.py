"""The one error type for a user's mistake."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake that the user can mend. The message is one sentence: what was found, what is needed, what to do."""
