"""Client order ids: made, read back, and recognised when they are somebody else's."""

from __future__ import annotations

import pytest

from actors.messages.orders import Role
from actors.orders import ids
from actors.orders.ids import ClientId


@pytest.mark.parametrize("role", list(Role))
def test_an_id_is_read_back_as_it_was_made(role: Role) -> None:
    made = ClientId("td", "a", 12, role, 7)
    assert ids.parse(str(made)) == made


@pytest.mark.parametrize(
    "text", ["", "td-a-12-e", "td-a-12-q-7", "td-a-012-e-7", "td-a-12-e-0", "td-a-12-e-7 ", "x" * 36]
)
def test_what_is_not_of_this_form_is_nobodys(text: str) -> None:
    assert ids.parse(text) is None
    assert not ids.is_foreign(text, "td", "a", 12)


@pytest.mark.parametrize(
    ("text", "own", "foreign"),
    [
        ("td-a-12-e-7", True, False),
        ("td-a-3-p-7", True, False),
        ("td-a-13-e-7", False, True),
        ("td-b-1-e-7", False, True),
        ("other-a-12-e-7", False, False),
    ],
)
def test_another_instance_or_a_later_epoch_is_a_second_host(text: str, own: bool, foreign: bool) -> None:
    assert ids.is_own(text, "td", "a", 12) is own
    assert ids.is_foreign(text, "td", "a", 12) is foreign
