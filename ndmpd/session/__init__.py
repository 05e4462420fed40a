"""What one control connection may do. Pure: no clock, file, socket, log or reactor in here."""

from ndmpd.session.core import Session
from ndmpd.session.facts import AuthPolicy, ServerFacts, User
from ndmpd.session.figures import DataFigures, Figures, MoverFigures

__all__ = ["AuthPolicy", "DataFigures", "Figures", "MoverFigures", "ServerFacts", "Session", "User"]
