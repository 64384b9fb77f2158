"""A maintenance window is open at the hours it names, on the days it names, and says when it opens."""

import time

import pytest

from littoral import windows
from littoral.errors import WindowError


def at(text: str) -> time.struct_time:
    """A local time such as `mon 02:00:00`: 4 January 2027 was a Monday."""
    day, clock = text.split()
    number = ("mon", "tue", "wed", "thu", "fri", "sat", "sun").index(day) + 4
    return time.strptime(f"2027-01-{number:02} {clock}", "%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("02:00-05:00", ("mon 02:00:00", "sun 04:59:59"), ("mon 01:59:59", "sun 05:00:00")),
        ("mon-fri 02:00-05:00", ("mon 02:00:00", "fri 04:00:00"), ("sat 02:00:00", "sun 04:00:00")),
        ("sat,sun 02:00-05:00", ("sat 03:00:00", "sun 03:00:00"), ("fri 03:00:00", "mon 03:00:00")),
        ("sat-mon 02:00-05:00", ("sat 03:00:00", "sun 03:00:00", "mon 03:00:00"), ("fri 03:00:00", "tue 03:00:00")),
        ("mon-tue,sat 02:00-05:00", ("mon 03:00:00", "tue 03:00:00", "sat 03:00:00"), ("wed 03:00:00",)),
        ("wed 02:00-05:00; sun 22:00-23:00", ("wed 02:00:00", "sun 22:30:00"), ("wed 22:30:00", "sun 02:00:00")),
        ("fri 22:00-06:00", ("fri 22:00:00", "sat 05:59:59"), ("fri 05:00:00", "sat 06:00:00", "sat 22:00:00")),
        ("sun 22:00-06:00", ("sun 23:00:00", "mon 05:59:59"), ("mon 06:00:00", "sun 05:00:00")),
        ("sun 22:00-00:00", ("sun 23:59:59",), ("mon 00:00:00", "sun 21:59:59")),
        ("sun 22:00-24:00", ("sun 23:59:59",), ("mon 00:00:00", "sun 21:59:59")),
        ("12:00-12:01", ("tue 12:00:00", "tue 12:00:59"), ("tue 11:59:59", "tue 12:01:00")),
        ("wed 00:00-24:00", ("wed 00:00:00", "wed 23:59:59"), ("tue 23:59:59", "thu 00:00:00")),
        ("00:00-24:00", ("mon 00:00:00", "sun 23:59:59"), ()),
        ("12:01-12:00", ("mon 12:01:00", "mon 11:59:59"), ("mon 12:00:30",)),
    ],
)
def test_it_is_open_at_its_hours_only(text: str, inside: tuple[str, ...], outside: tuple[str, ...]) -> None:
    window = windows.parse(text)
    assert [each for each in inside if not window.contains(at(each))] == []
    assert [each for each in outside if window.contains(at(each))] == []
    assert window.text == text


@pytest.mark.parametrize(
    ("text", "now", "seconds"),
    [
        ("02:00-05:00", "mon 02:00:00", 0),
        ("02:00-05:00", "mon 04:59:59", 0),
        ("02:00-05:00", "mon 01:59:59", 1),
        ("02:00-05:00", "mon 05:00:00", 21 * 3600),
        ("sat,sun 02:00-05:00", "sun 05:00:00", 6 * 86_400 - 3 * 3600),
        ("mon 02:00-05:00", "sun 23:59:30", 2 * 3600 + 30),
        ("wed 02:00-05:00; sun 22:00-23:00", "wed 05:00:00", 4 * 86_400 + 17 * 3600),
        ("fri 22:00-06:00", "sat 03:00:00", 0),
    ],
)
def test_it_says_how_long_until_it_opens(text: str, now: str, seconds: int) -> None:
    assert windows.parse(text).opens_in(at(now)) == seconds


def test_a_leap_second_belongs_to_its_minute() -> None:
    leap = time.struct_time((2027, 1, 4, 4, 59, 60, 0, 4, 0))
    assert windows.parse("02:00-05:00").contains(leap)
    assert windows.parse("05:00-06:00").opens_in(leap) == 1


@pytest.mark.parametrize("hour", range(24))
@pytest.mark.parametrize("text", ["sat,sun 02:00-05:00", "fri 22:00-06:00", "23:30-00:30; wed 12:00-12:01"])
def test_it_opens_exactly_when_it_says(text: str, hour: int) -> None:
    window = windows.parse(text)
    begin = time.mktime(at(f"mon {hour:02}:17:05"))
    for day in range(7):
        now = begin + day * 86_400  # January: no change of clocks anywhere north
        opens = now + window.opens_in(time.localtime(now))
        assert window.contains(time.localtime(opens))
        assert opens == now or not window.contains(time.localtime(opens - 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "02:00-05:00;",
        "always",
        "2:00-5:00",
        "02:00",
        "02:00 - 05:00",
        "02:60-05:00",
        "25:00-26:00",
        "24:01-05:00",
        "24:00-05:00",
        "02:00-02:00",
        "monday 02:00-05:00",
        "Mon 02:00-05:00",
        "mon- 02:00-05:00",
        "mon,,tue 02:00-05:00",
        ", 02:00-05:00",
        "mon-tue-wed 02:00-05:00",
        "mon 02:00-05:00 tue 02:00-05:00",
        "mon02:00-05:00",
        "٠٢:٠٠-٠٥:٠٠",  # digits, but not those of the grammar
        "; ".join(["mon 02:00-05:00"] * 10),
    ],
)
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(WindowError) as caught:
        windows.parse(text)
    assert caught.value.remedy
