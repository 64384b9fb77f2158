"""Power cut at every operation of whole stories, and again at every operation of what comes after it."""

import pytest

from tests.durability.explore import Explorer
from tests.durability.story import STORIES, Story

SAMPLE = 300  # states of each story in the ordinary suite, and some of what may follow them
AGAIN = 52  # in the long run, after each of every third crash


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_no_power_cut_and_no_kill_breaks_a_promise(story: Story) -> None:
    found = Explorer(story, first=SAMPLE, share=0.02, again=10).run()
    assert found.bad == []
    assert found.states > SAMPLE


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_two_power_cuts_in_a_row_break_a_promise_in_a_hundred_thousand_states() -> None:
    states = 0
    for story in STORIES:
        found = Explorer(story, seed=1, share=0.35, again=AGAIN).run()
        assert found.bad == []
        states += found.states
    assert states >= 100_000
