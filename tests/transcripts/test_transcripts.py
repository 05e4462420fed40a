"""Stories of sessions, told as transcripts: each ``.txt`` file beside this one.

A story is made of steps. A step is one command, ``----``, and all that the session then does, in order::

    tape> MOVER_CLOSE                       a request of the DMA on the connection named tape
    tape< MoverPaused reason=EOM            an event from the services of that connection
    tape: connect version=V4                a new connection, opened and authenticated
    tape: figures record_num=3              what the services' counters say from now on
    ----
    do MoverClose                           an effect for the services
    reply NO_ERR                            a reply, with the fields that are not at their default
    post NOTIFY_MOVER_HALTED reason=...     a post
    note WARNING "..."                      a line of the server's own log
    closed                                  the session is over
    DATA ACTIVE, MOVER PAUSED               the states, where either changed

``TRANSCRIPTS=rewrite pytest tests/transcripts`` writes what happens into the files: read the difference.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path

import pytest

from ndmpd.session import effects, events
from ndmpd.session.effects import Effect
from protocol.ndmp import registry
from protocol.ndmp.codes import Code, Error, Version
from tests.session.driver import Dma, Kind, Seen, decoded
from tests.transcripts.notation import fields_of, parse, read

STORIES = sorted(Path(__file__).parent.glob("*.txt"))
RULE = "----"


@dataclasses.dataclass
class Step:
    """``remarks``: comment and blank lines before the command."""

    remarks: list[str]
    command: str
    expected: list[str]

    def text(self, happened: list[str]) -> str:
        return "\n".join([*self.remarks, self.command, RULE, *happened, ""])


def steps(story: str) -> list[Step]:
    found: list[Step] = []
    for block in story.strip().split("\n\n"):
        lines = block.splitlines()
        remarks = [line for line in lines if line.startswith("#")]
        body = lines[len(remarks):]
        if not body:
            found.append(Step(remarks, "", []))
            continue
        assert body[1:2] == [RULE], f"a step is a command and {RULE}: {body}"
        found.append(Step(remarks, body[0], body[2:]))
    return found


class Story:
    """Connections by name, and what happens on them."""

    def __init__(self) -> None:
        self.peers: dict[str, Dma] = {}

    def act(self, command: str) -> list[str]:
        name, kind, rest = command.partition(next(mark for mark in command if mark in "<>:"))
        verb, *words = shlex.split(rest)
        if kind == ":" and verb == "connect":
            version = read(Version | int, dict(word.split("=") for word in words)["version"])
            self.peers[name] = Dma(version)
            return [line for effect in self.peers[name].log for line in told(effect, version)]
        dma = self.peers[name]
        if kind == ":":
            set_figures(dma, words)
            return []
        before = dma.session.data_state, dma.session.mover_state
        if kind == ">":
            ask(dma, verb, words)
        else:
            dma.tell(event(dma, verb, words))
        happened = [line for effect in dma.last for line in told(effect, dma.session.version)]
        after = dma.session.data_state, dma.session.mover_state
        if dma.session.closed:
            happened.append("closed")
        elif after != before:
            happened.append(f"DATA {after[0].name}, MOVER {after[1].name}")
        return happened


def ask(dma: Dma, name: str, words: list[str]) -> None:
    cls = registry.request_class(Code[name], dma.session.version)
    assert cls is not None
    dma.turn(parse(cls, words))


def event(dma: Dma, name: str, words: list[str]) -> events.Event:
    """``Performed ERROR field=value ...`` is a reply to the open request; others go by their fields."""
    if name != "Performed":
        return parse(getattr(events, name), words)  # type: ignore[no-any-return]
    waiting = next(effect for effect in reversed(dma.log) if isinstance(effect, effects.Perform))
    reply = registry.reply_class(registry.code_of(type(waiting.request)), dma.session.version)
    assert reply is not None
    return events.Performed(dataclasses.replace(parse(reply, words[1:]), error=Error[words[0]]))


def set_figures(dma: Dma, words: list[str]) -> None:
    for word in words:
        name, value = word.split("=")
        figures = dma.figures
        if name in {field.name for field in dataclasses.fields(figures.data_figures)}:
            figures.data_figures = dataclasses.replace(figures.data_figures, **{name: int(value)})
        else:
            figures.mover_figures = dataclasses.replace(figures.mover_figures, **{name: int(value)})


def told(effect: Effect, version: Version) -> list[str]:
    match effect:
        case effects.Send():
            return [sent(decoded(effect, version))]
        case effects.Note(kind, text):
            return [f"note {kind.name} {text!r}"]
        case effects.Perform(request):
            return [f"do Perform {registry.code_of(type(request)).name}{fields_of(request)}"]
        case _:
            return [f"do {type(effect).__name__}{fields_of(effect)}"]


def sent(seen: Seen) -> str:
    after = f" after {seen.delay:g} s" if seen.delay else ""
    if seen.kind is Kind.POST:
        return f"post {seen.code.name}{fields_of(seen.body)}{after}"
    assert seen.error is not None
    where = "" if seen.body else " in the header"
    return f"reply {seen.error.name}{where}{fields_of(seen.body) if seen.body else ''}{after}"


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_goes_as_told(path: Path) -> None:
    story = Story()
    rewritten: list[str] = []
    for step in steps(path.read_text()):
        happened = story.act(step.command) if step.command else []
        if os.environ.get("TRANSCRIPTS") == "rewrite":
            rewritten.append(step.text(happened) if step.command else "\n".join([*step.remarks, ""]))
        else:
            assert happened == step.expected, f"after {step.command!r}"
    if rewritten:
        path.write_text("\n".join(rewritten))
    for peer in story.peers.values():
        assert peer.complaints == []


def test_there_are_stories() -> None:
    assert len(STORIES) >= 10
