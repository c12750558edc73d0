"""Files of exported models, opened in the runtime that runs them."""

from .session import Session, choose_runtime, open_session

__all__ = ["Session", "choose_runtime", "open_session"]
