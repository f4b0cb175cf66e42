"""What the page does when somebody votes, or says what is good or wrong."""

from __future__ import annotations

from collections.abc import Sequence

import gradio as gr

from tasks.chat_page.opinions import answer_at, explained, keep, rating, vote
from tasks.chat_page.showing import Kept, Showing, Sorry, Updates, place_of
from tasks.chat_page.talk import Talk, Vote
from tasks.feedback.records import Item


class Judging(Showing):
    """Votes, thumbs, reasons and corrections."""

    def voted(self, verdict: Vote, talk: Talk | None, kept: Kept, consent: bool) -> Updates:
        """Keep a vote, and show who was who."""
        talk = talk or Talk()
        if not talk.can_vote():
            return self.apology(Sorry("vote_first"))
        known = self.known(kept)
        keep(self.desk, vote(self.desk, talk, verdict, str(known["user"]), consent=consent))
        talk = talk.model_copy(update={"vote": verdict})
        a, b = (side.messages[-1].model for side in talk.sides)
        return self.votes(talk) | {
            self.parts.talk: talk, self.parts.vote_note: self.words("revealed", a=a, b=b), self.parts.kept: known,
        }

    def rated(self, talk: Talk | None, kept: Kept, consent: bool, data: gr.LikeData) -> Updates:
        """Keep thumbs up or down at once, and open the panel to say more."""
        talk, place = talk or Talk(), place_of(data.index)
        answer = answer_at(talk.sides[0], place)
        if answer is None or talk.compared:
            return {self.parts.panel: gr.update(visible=False)}
        good = data.liked is True or data.liked == "Like"
        known = self.known(kept)
        item = rating(self.desk, talk, place, str(known["user"]), good=good, consent=consent)
        keep(self.desk, item)
        return {
            self.parts.kept: known, self.parts.you: self.words("you", user=known["user"]),
            self.parts.rated: item, self.parts.panel: gr.update(visible=True),
            self.parts.panel_note: self.words("said_good" if good else "said_bad"),
            self.parts.reasons: [], self.parts.words: "", self.parts.correction: answer.text,
        }

    def explained(
        self, item: Item | None, reasons: Sequence[str], words: str, correction: str, consent: bool
    ) -> Updates:
        """Keep what somebody says besides thumbs."""
        if item is not None:
            known = [self.words(f"reason_{reason}") for reason in reasons]
            keep(self.desk, explained(item, known, words, correction, consent=consent))
        return {self.parts.panel: gr.update(visible=False), self.parts.status: self.words("thanks")}
