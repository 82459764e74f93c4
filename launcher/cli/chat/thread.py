"""The conversation that a single question belongs to: a new one, or the one kept last."""

from __future__ import annotations

from launcher.asker import Asker
from launcher.cli.chat.about import About
from launcher.cli.chat.manner import Manner
from launcher.cli.chat.words import Words
from launcher.sessions import Exchange, Session, Shelf


class Thread:
    """What a single question is asked in."""

    def __init__(self, about: About, manner: Manner, asker: Asker, system: str | None) -> None:
        self._about = about
        self._shelf = Shelf(asker.places.sessions)
        self._keeps = manner.continues and not manner.private
        found = self._shelf.last() if manner.continues else None
        self._session = found or Session(model=about.ref)
        if system is not None:
            self._session.system = system
        if found and found.model != about.ref:
            asker.say(other_model(found, about))
        self.words = Words(hides_thinking=manner.hides_thinking)

    def messages(self, question: str) -> list[dict[str, str]]:
        """What the model is shown."""
        return [*self._session.messages, {"role": "user", "content": question}]

    def note(self, question: str) -> None:
        """Keeps the question with its answer, where the conversation goes on."""
        if not self._keeps:
            return
        said = self.words.splitter
        exchange = Exchange(question=question, answer=said.said, thought=said.thought)
        self._session.exchanges.append(exchange)
        self._session.model = self._about.ref
        self._shelf.save(self._session)


def other_model(session: Session, about: About) -> str:
    """That a conversation was held with another model."""
    return f"Note: It was held with another model, {session.model}. {about.ref} goes on with it."
