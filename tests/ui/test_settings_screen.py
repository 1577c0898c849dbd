"""The settings screen: every setting with good and bad values, saving, dropping, taking back, and secrets."""

from __future__ import annotations

import contextlib
import re
import signal
from dataclasses import replace

import pytest
from recorded import RecordedGateway
from textual import events

from cme_tui.screens import settings as settings_screen
from cme_tui.screens.ask import AskScreen
from cme_tui.screens.confirm import ConfirmScreen
from cme_tui.screens.overview import OverviewScreen
from cme_tui.screens.settings import SettingsScreen
from cme_tui.widgets.bars import KeyBar
from cme_tui.widgets.lines import Lines
from core.config import Config
from core.secrets import GENERATED, shown_fingerprint
from core.settings import settings, typed

ALL = {setting.name: setting for setting in settings(Config())}
CHANGEABLE = [name for name, setting in ALL.items() if not setting.fixed]
TEXTS = {  # a good and a bad one for what has no choices and no range
    "gateway.flag_id": ("KAM", "ELVE"),
    "gateway.name": ("Keller 4", "x" * 65),
    "gateway.timezone": ("Europe/Stockholm", "Mars/Olympus"),
    "dlms.host": ("192.0.2.7", "two words"),
    "push.host": ("hes.example", "two words"),
}
SPARE = "1.0.99.77.0.255"
KEY = "00112233445566778899AABBCCDDEEFF"


def good_and_bad(name: str) -> tuple[list[str], list[str]]:
    """What can be typed for a setting; a new one without choices or a range needs an entry in `TEXTS`.

    `tests/test_settings.py` has every kind of bad value; the screen need not see them all.
    """
    setting = ALL[name]
    if setting.table == "obis":
        return [SPARE], ["1-0:99.1.0"]
    if found := re.search(r"from (\d+) to (\d+)", setting.allowed):
        low, high = map(int, found.groups())
        return [str(low), str(high)], [str(high + 1), "many"]
    if setting.choices:
        return [], ["perhaps"]
    good, bad = TEXTS[name]
    return [good], [bad]


@pytest.fixture
def opened(session):
    """Begins a session on the settings screen."""

    @contextlib.asynccontextmanager
    async def begin(*arguments, **options):
        async with session(*arguments, **options) as s:
            await s.press("f3")
            assert isinstance(s.screen, SettingsScreen)
            yield s

    return begin


async def go(s, name):
    """Put the cursor on a row."""
    table = s.table("#settings")
    rows = [table._keys[index] for index in range(table.row_count)]
    table.move_to(rows.index(name))
    await s.settle()


async def enter(s, name, text):
    """Type a value into the field of a setting and leave it with Enter."""
    await go(s, name)
    await s.press("enter")
    assert s.screen.focused.id == "field"
    await s.press("end")
    await answer(s, text)


async def answer(s, text):
    """Paste the answer to a question, as from a head-end's manual, and press Enter."""
    await s.press("ctrl+u")
    s.app.post_message(events.Paste(text))
    await s.press("enter")


def about(s):
    return " ".join(line.strip() for line in s.lines("#about").split("\n")).strip()


def row(s, name):
    table = s.table("#settings")
    return table.text_of(list(table._keys).index(name))


def chosen(s, name):
    """The value that a row shows, as it is typed."""
    table = s.table("#settings")
    value = table._row(list(table._keys).index(name))[3]
    return {"on": "true", "off": "false"}.get(value, value)


def values(s):
    return {setting.name: setting.value for setting in s.gateway.settings()}


async def save(s):
    """Press s, and answer what is asked with yes."""
    await s.press("s")
    if isinstance(s.screen, AskScreen):
        await s.press(*"lower", "enter")
    elif isinstance(s.screen, ConfirmScreen):
        await s.press("y")


def test_there_is_a_good_and_a_bad_value_for_every_setting():
    """Those that the tests below type; so that a new setting is walked as well."""
    for name in CHANGEABLE:
        good, bad = good_and_bad(name)
        assert good or ALL[name].choices
        assert bad


@pytest.mark.parametrize("name", CHANGEABLE)
async def test_every_setting_takes_good_values(opened, name):
    """Marked until it is saved, then in force; and its default again with d."""
    async with opened(clients=0) as s:
        for text in good_and_bad(name)[0]:
            before = values(s)[name]
            if typed(name, text) == before:
                continue
            await enter(s, name, text)
            assert ("✗" in about(s), row(s, name)[0]) == (False, "*"), about(s)
            assert f"was {before}" in row(s, name) or before == ""
            await save(s)
            assert s.gateway.commands[-1] == f"configure { {name: typed(name, text)} }"
            assert values(s)[name] == typed(name, text)
            assert "1 change saved" in s.status
            await s.press("d")
            await save(s)
            assert values(s)[name] == ALL[name].default


@pytest.mark.parametrize("name", [name for name in CHANGEABLE if ALL[name].choices])
async def test_every_choice_is_a_step_away(opened, name):
    """Right goes through all of them, back to where it began; left goes back; each can be typed, too."""
    async with opened(clients=0) as s:
        await go(s, name)
        choices, shown = ALL[name].choices, []
        for _ in choices:
            await s.press("right")
            shown.append(chosen(s, name))
        begun = str(values(s)[name]).lower()
        at = choices.index(begun)
        assert shown == [*choices[at + 1 :], *choices[: at + 1]]
        assert s.lines("#changes") == ""
        await s.press("left")
        assert chosen(s, name) == choices[at - 1]
        await s.press("space")
        assert s.lines("#changes") == ""
        if choices == ("true", "false"):
            await s.press("enter")
            assert row(s, name).startswith("*")


@pytest.mark.parametrize("name", CHANGEABLE)
async def test_every_bad_value_is_named_on_leaving_the_field(opened, name):
    """With what is allowed; it keeps its text, it blocks the save, and Esc or d gets out of it."""
    if ALL[name].choices == ("true", "false"):
        return  # cannot be typed
    async with opened() as s:
        before = values(s)
        for text in good_and_bad(name)[1]:
            await enter(s, name, text)
            wanted = ALL[name].wanted_instead(typed(name, text))
            named = (
                [f"must be {wanted}, not "] if wanted else ALL[name].choices
            )  # a file of that name could be
            assert all(each in about(s) for each in named), about(s)
            assert about(s).startswith("✗")
            assert row(s, name).startswith("✗")
            assert "cannot be" in s.lines("#changes")
            await s.press("s")
            assert ("has to be corrected first" if wanted else "Nothing is saved") in s.status
            await s.press("enter")
            assert s.screen.query_one("#field").value == text
            await s.press("escape")
        await s.press("d")
        assert s.lines("#changes") == "" or before[name] != ALL[name].default
        await s.press("x")
        assert not s.lines("#changes")
        assert values(s) == before
        assert not s.gateway.commands


async def test_the_interval_rule_has_the_numbers_in_it(opened):
    """On leaving the field; together with a readout interval that fits, it can be saved."""
    async with opened() as s:
        await enter(s, "profiles.load_profile_1", "20 min")
        assert "load profile 1: 20 min is no multiple of the readout interval 15 min" in about(s)
        await enter(s, "profiles.load_profile_1", "10 min")
        assert "10 min is no multiple of the readout interval 15 min" in about(s)
        assert "config.toml" not in about(s)
        await enter(s, "gateway.name", "Keller 4")
        assert "✗" not in about(s)
        assert row(s, "profiles.load_profile_1").startswith("✗")
        await s.press("s")
        assert "Nothing is saved" in s.status
        assert not s.gateway.commands
        await enter(s, "readout.interval", "5 min")
        assert "✗" not in s.lines("#changes")
        await s.press("s")
        assert values(s)["profiles.load_profile_1"] == "10 min"
        assert values(s)["readout.interval"] == "5 min"


async def test_each_of_two_wrong_values_has_its_own_sentence(opened):
    """One wrong by itself does not hide that another breaks the rule."""
    async with opened() as s:
        await enter(s, "dlms.port", "70000")
        await enter(s, "profiles.load_profile_1", "10 min")
        assert "10 min is no multiple of the readout interval" in about(s)
        await go(s, "dlms.port")
        assert "TCP port must be" in about(s)


async def test_a_port_that_is_taken_says_so_on_leaving_the_field(opened):
    """And again on save, should it be taken only then; the change is kept for another try."""
    async with opened() as s:
        await enter(s, "dlms.port", "4070")
        assert "cannot listen on 0.0.0.0:4070 (address already in use)" in about(s)
        assert "choose another port" in about(s)
        await enter(s, "dlms.port", "4060")
        assert "✗" not in about(s)
        s.gateway.taken_ports.add(4060)
        await s.press("s")
        assert "Nothing is saved" in s.status
        assert "already in use" in about(s)
        assert row(s, "dlms.port").startswith("✗")
        s.gateway.taken_ports.clear()
        await s.press("s")
        assert values(s)["dlms.port"] == 4060


async def test_two_settings_with_one_code_are_refused_together(opened):
    """Which two is said."""
    async with opened() as s:
        await enter(s, "obis.load_profile_1", ALL["obis.load_profile_2"].value)
        assert "[obis] gives load_profile_1 and load_profile_2 the same code" in about(s)


async def test_the_bar_counts_the_changes_and_names_their_effects(opened):
    """All are saved at once, in one call; what is changed back is no change."""
    async with opened(clients=2) as s:
        await enter(s, "dlms.port", "4060")
        await enter(s, "gateway.name", "Keller 4")
        await enter(s, "dlms.inactivity_timeout", "60")
        bar = s.lines("#changes")
        assert "3 changes not saved:  s saves, x drops" in bar
        assert "TCP port: 4059 → 4060; listens there from then on; 2 clients stay connected" in bar
        assert "Inactivity timeout: 180 s → 60 s" in bar
        await enter(s, "gateway.name", "Cellar 3")
        assert "2 changes" in s.lines("#changes")
        await s.press("s")
        assert s.gateway.commands == ["configure {'dlms.port': 4060, 'dlms.inactivity_timeout': 60}"]
        assert s.lines("#changes") == ""


async def test_the_bar_stays_small(opened):
    """Twelve changes take a quarter of the screen; those that do not fit are counted."""
    async with opened() as s:
        for number, name in enumerate(name for name in CHANGEABLE if name.startswith("obis.")):
            await enter(s, name, f"1.0.99.{80 + number}.0.255")
        bar = s.lines("#changes").split("\n")
        assert len(bar) == 6
        assert bar[0].startswith(" 12 changes")
        assert bar[-1] == "   and 8 more, marked *"


async def test_switching_dlms_off_says_who_is_cut_and_asks(opened):
    """No and Esc keep the change; without clients nothing is asked."""
    async with opened(clients=2) as s:
        await go(s, "dlms.enabled")
        await s.press("space", "s")
        assert isinstance(s.screen, ConfirmScreen)
        assert "2 clients are cut, and nobody can connect" in str(s.screen.query_one("Static").render())
        await s.press("n")
        assert (s.gateway.commands, "1 change" in s.lines("#changes")) == ([], True)
        await s.press("s", "y")
        assert values(s)["dlms.enabled"] is False
    async with opened(clients=0) as s:
        await go(s, "dlms.enabled")
        await s.press("enter", "s")
        assert values(s)["dlms.enabled"] is False


async def test_an_interval_that_a_line_cannot_keep_is_told_before_it_is_saved(opened):
    """The sentence stands in the question; no leaves all as it is."""
    async with opened(clients=0) as s:
        s.gateway.misfit = (
            "Line main: 5 min cycle, this line needs 9 min. Choose a readout interval of 10 min.",
        )
        before = values(s)["readout.interval"]
        await go(s, "readout.interval")
        await s.press("space", "s")
        assert isinstance(s.screen, ConfirmScreen)
        assert "5 min cycle, this line needs 9 min" in str(s.screen.query_one("Static").render())
        await s.press("n")
        assert values(s)["readout.interval"] == before
        await s.press("s", "y")
        assert values(s)["readout.interval"] != before


async def test_lowering_needs_a_typed_word(opened):
    """Nothing else saves it: not Enter, not another word, not Esc. The sentence says what it opens."""
    async with opened() as s:
        await enter(s, "dlms.authentication", "none")
        await s.press("s")
        assert isinstance(s.screen, AskScreen)
        question = str(s.screen.query_one("Static").render())
        assert "This lowers the authentication from low to none." in question
        for answer in ("", "yes", "none"):
            await s.press("ctrl+u", *answer, "enter")
            assert isinstance(s.screen, AskScreen)
        await s.press("f2", "f10", "escape")
        assert (s.gateway.commands, values(s)["dlms.authentication"]) == ([], "low")
        assert "1 change" in s.lines("#changes")
        await s.press("s", *"lower", "enter")
        assert values(s)["dlms.authentication"] == "none"


async def test_raising_needs_no_word_but_says_who_is_cut(opened):
    """The client with LLS does not reach the new level."""
    async with opened() as s:
        await enter(s, "dlms.authentication", "high")
        assert "1 client is cut with the next request" in s.lines("#changes")
        await s.press("s", "y")
        assert values(s)["dlms.authentication"] == "high"


async def test_the_last_save_is_taken_back(opened):
    """The question names what it puts back; where that lowers security, the word is asked for."""
    async with opened() as s:
        await s.press("u")
        assert "nothing to take back" in s.status
        await enter(s, "dlms.inactivity_timeout", "60")
        await s.press("u")
        assert "Save or drop" in s.status
        await s.press("s", "u")
        assert "Inactivity timeout 180 s" in str(s.screen.query_one("Static").render())
        await s.press("n")
        assert values(s)["dlms.inactivity_timeout"] == 60
        await s.press("u", "y")
        assert values(s)["dlms.inactivity_timeout"] == 180
        await enter(s, "dlms.policy", "authenticated-encrypted")
        await save(s)
        await s.press("u")
        assert isinstance(s.screen, AskScreen)
        await s.press(*"lower", "enter")
        assert values(s)["dlms.policy"] == "none"


async def test_what_somebody_else_changes_under_a_question_is_asked_anew(opened):
    """A save that raised authentication would lower it now, so it needs the word."""
    async with opened() as s:
        s.gateway.set_values["dlms.authentication"] = "none"
        await enter(s, "dlms.authentication", "low")
        await go(s, "dlms.enabled")
        await s.press("space", "s")
        assert isinstance(s.screen, ConfirmScreen)
        s.gateway.set_values["dlms.authentication"] = "high"
        await s.press("y")
        assert isinstance(s.screen, AskScreen)
        assert "from high to low" in str(s.screen.query_one("Static").render())
        await s.press("escape")
        assert (s.gateway.commands, values(s)["dlms.authentication"]) == ([], "high")
        await s.press("s", *"lower", "enter")
        assert values(s)["dlms.authentication"] == "low"


async def test_an_undo_takes_back_only_what_was_asked(opened):
    """Somebody else saves while the question stands there: it is asked anew, with what that replaced."""
    async with opened() as s:
        s.gateway.replaced_values = {"gateway.name": "Cellar 1"}
        await s.press("u")
        assert "Name Cellar 1" in str(s.screen.query_one("Static").render())
        s.gateway.replaced_values = {"dlms.port": 4061}
        await s.press("y")
        assert "TCP port 4061" in str(s.screen.query_one("Static").render())
        assert s.gateway.commands == []
        await s.press("y")
        assert (s.gateway.commands, values(s)["dlms.port"]) == (["undo"], 4061)


async def test_a_key_that_is_pressed_twice_asks_once(opened):
    """Both before the gateway has answered the first."""
    async with opened() as s:
        s.gateway.replaced_values = {"gateway.name": "Cellar 1"}
        for _ in range(2):
            s.app.post_message(events.Key("u", "u"))
        await s.settle()
        assert sum(isinstance(each, ConfirmScreen) for each in s.app.screen_stack) == 1


async def test_changes_that_are_dropped_are_not_saved(opened):
    """Also where s was pressed just before, and the gateway had not checked them yet."""
    async with opened() as s:
        await enter(s, "gateway.name", "Cellar 9")
        for key in "sx":
            s.app.post_message(events.Key(key, key))
        await s.settle()
        await s.settle()
        assert (s.gateway.commands, values(s)["gateway.name"]) == ([], "Cellar 3")


async def test_leaving_with_changes_asks_first(opened):
    """F2, F6, F10, also from the help over it and from within a field; staying keeps all, leaving drops it."""
    async with opened() as s:
        await enter(s, "gateway.name", "Keller 4")
        for keys in (("f2",), ("f6",), ("f1", "f2")):
            await s.press(*keys)
            assert isinstance(s.screen, ConfirmScreen)
            assert "1 change of settings" in str(s.screen.query_one("Static").render())
            await s.press("n")
            if keys[0] == "f1":
                await s.press("escape")  # leaves the help
            assert isinstance(s.screen, SettingsScreen)
            assert "1 change" in s.lines("#changes")
        await s.press("f3")
        assert isinstance(s.screen, SettingsScreen)
        await s.press("f10")
        assert "1 change of settings" in str(s.screen.query_one("Static").render())
        await s.press("n")
        await go(s, "dlms.port")
        await s.press("enter", "1", "f2")
        assert "2 changes of settings" in str(s.screen.query_one("Static").render())
        await s.press("y")
        assert isinstance(s.screen, OverviewScreen)
        await s.press("f3")
        assert s.lines("#changes") == ""
        assert "Cellar 3" in row(s, "gateway.name")
        await enter(s, "gateway.name", "Keller 4")
        await s.press("f1", "f2", "y")
        assert isinstance(s.screen, OverviewScreen)
        await s.press("f3")
        assert s.lines("#changes") == ""
        await s.press("f2")
        assert isinstance(s.screen, OverviewScreen)


@pytest.mark.parametrize("key", ["up", "down", "tab"])
async def test_the_field_is_left_with_the_cursor_keys_and_tab(opened, key):
    """What was typed is kept and checked."""
    async with opened() as s:
        await go(s, "dlms.port")
        await s.press("enter", "9", "9", key)
        assert s.screen.focused is s.table("#settings")
        assert row(s, "dlms.port").startswith("✗")
        await go(s, "dlms.port")
        assert "not 405999." in about(s)
        await s.press("enter", "1", "escape")
        assert "405999 " in row(s, "dlms.port")


async def test_keys_belong_to_the_field_while_it_is_open(opened):
    """Letters and digits that are keys elsewhere are text there."""
    async with opened() as s:
        await enter(s, "gateway.name", "dusvgx? /8")
        assert "dusvgx? /8" in row(s, "gateway.name")
        assert s.gateway.commands == []


async def test_what_others_change_shows_at_once(opened):
    """The list has the newest; the own change of the same setting is marked, and goes where both are the same."""
    async with opened() as s:
        await enter(s, "dlms.policy", "authenticated-encrypted")
        await enter(s, "dlms.inactivity_timeout", "60")
        s.gateway.set_values |= {"dlms.inactivity_timeout": 90, "gateway.name": "set by others"}
        s.app.pull()
        assert "set by others" in row(s, "gateway.name")
        assert row(s, "dlms.inactivity_timeout").startswith("!")
        assert "It was set to 90 s meanwhile" in about(s)
        s.gateway.set_values |= {"dlms.policy": "authenticated-encrypted"}  # a head-end raises it
        s.app.pull()
        assert "1 change not saved" in s.lines("#changes")
        assert "default none" in row(s, "dlms.policy")


async def test_what_is_made_once_is_only_shown(opened):
    """Serial number, system title and addressing mode say why; no key changes them."""
    async with opened() as s:
        for name, value in (
            ("gateway.serial", "0016000000"),
            ("gateway.system_title", "454C560000F42400"),
            ("dlms.addressing", "both always"),
        ):
            await go(s, name)
            await s.press("enter", "space", "d", "left", "v", "g")
            assert value in row(s, name)
            assert isinstance(s.screen, SettingsScreen)
            assert s.screen.focused is s.table("#settings")
            assert about(s)
        assert (s.lines("#changes"), s.gateway.commands) == ("", [])


async def test_the_filter_finds_by_group_name_key_and_value(opened):
    """The count stands beside it; Enter keeps it, Esc shows all again; a message leads to a row that it hides."""
    async with opened() as s:
        await s.press("slash", *"billing month")
        assert "Settings 1 of " in s.lines("#count")
        await s.press("enter", "left")
        assert "1 week" in row(s, "profiles.billing_profile")  # still there
        await s.press("x")
        await s.press("slash", *"zzz")
        assert "Nothing has these words" in about(s)
        await s.press("escape")
        assert s.table("#settings").row_count > 30
        await enter(s, "dlms.port", "0")
        await s.press("slash", *"secrets", "enter", "s")
        assert "TCP port must be" in about(s)


async def test_the_footer_fits_80_columns_on_every_row(opened):
    """With and without changes, and in the field."""

    def width():
        return sum(len(f" {key} {label} ") for key, label, _ in s.screen.query_one(KeyBar).keys)

    async with opened() as s:
        for name in ("gateway.flag_id", "gateway.name"):
            await go(s, name)
            await s.press("d")
        for _ in range(2):
            for index in range(s.table("#settings").row_count):
                s.table("#settings").move_to(index)
                await s.settle()
                assert width() <= 80, s.screen.query_one(KeyBar).keys
            await enter(s, "gateway.name", "Keller 4")
        await s.press("enter")
        assert width() <= 80
        await s.press("escape", "slash")
        assert width() <= 80


async def test_main_settings_fit_on_one_screen(opened):
    """From the serial number to the billing profile, without scrolling, on 80x24."""
    async with opened() as s:
        table = s.table("#settings")
        assert list(table._keys).index("profiles.billing_profile") < table.size.height - 1


def texts(secrets):
    """All secrets as somebody could see them."""
    keys = [getattr(secrets, name) for name in GENERATED[1:]] + list(secrets.meter_keys.values())
    return [secrets.lls_password, *(key.hex() for key in keys)]


def seen(s):
    """All that the screen shows: what its SVG has, and its widgets."""
    picture = s.app.export_screenshot().replace("&#160;", " ")
    return f"{picture} {about(s)} {s.status} {s.lines('#changes')}".lower()


async def test_secrets_are_masked_and_told_apart_by_fingerprints(opened):
    """Nothing that the screen shows, and no snapshot of the core, has one of them."""
    async with opened(size=(120, 60)) as s:
        for name in GENERATED:
            await go(s, name)
            assert "********" in row(s, name)
            assert shown_fingerprint(getattr(s.gateway.kept_secrets, name)) in row(s, name)
            assert not [text for text in texts(s.gateway.kept_secrets) if text in seen(s)]
        assert not [text for text in texts(s.gateway.kept_secrets) if text in repr(s.app.current).lower()]


@pytest.mark.parametrize("leave", [("v",), ("escape",), ("up",), ("f2",), ("f1",), ("slash",)], ids=str)
async def test_one_secret_is_shown_on_request(opened, leave):
    """That one only, until v, Esc, another row or another screen."""
    async with opened(size=(120, 60)) as s:
        await go(s, "master_key")
        await s.press("v")
        assert about(s) == f"Master key (KEK): {s.gateway.kept_secrets.master_key.hex().upper()}"
        assert [text for text in texts(s.gateway.kept_secrets) if text in seen(s)] == ["01" * 16]
        await s.press(*leave)
        if leave[0] in ("f1", "f2"):
            await s.press("escape", "f3")
        assert "01" * 16 not in seen(s)


async def test_a_question_hides_a_shown_secret(opened):
    """The list can be seen behind it, for as long as nobody answers."""
    async with opened() as s:
        await go(s, "lls_password")
        for leave in ("g", "enter"):
            await s.press("v")
            assert "recorded-password" in about(s)
            await s.press(leave)
            behind = s.app.screen_stack[-2]
            assert "recorded-password" not in behind.query_one("#about", Lines).text
            await s.press("escape")


async def test_a_shown_secret_hides_by_itself(opened, monkeypatch):
    """For who walks away."""
    monkeypatch.setattr(settings_screen, "REVEALED_SECONDS", 0.05)
    async with opened() as s:
        await go(s, "lls_password")
        await s.press("v")
        while "recorded-password" in about(s):
            await s.pilot.pause(0.02)
        assert "1 to 64 printable ASCII characters" in about(s)


async def test_a_secret_is_generated_after_a_question_that_names_the_effect(opened):
    """No keeps the old one; the key of a meter cannot be generated."""
    async with opened(clients=2) as s:
        for name in GENERATED:
            before = getattr(s.gateway.kept_secrets, name)
            await go(s, name)
            await s.press("g")
            assert isinstance(s.screen, ConfirmScreen)
            assert "Head-end systems need it" in str(s.screen.query_one("Static").render())
            await s.press("n")
            assert getattr(s.gateway.kept_secrets, name) == before
            await s.press("g", "y")
            assert getattr(s.gateway.kept_secrets, name) != before
            assert "is saved and in force" in s.status
        await go(s, "meter_keys.")
        await s.press("g", "v")
        assert isinstance(s.screen, SettingsScreen)


async def test_a_secret_is_replaced_hidden_and_typed_twice(opened):
    """What is wrong with it is said without it: length, digits, not the same, the same as another key."""
    async with opened() as s:
        await go(s, "encryption_key")
        await s.press("enter")
        for bad, says in (
            (KEY[:-1], "must be exactly 32 hex digits, not 31 characters"),
            (KEY[:-1] + "G", "must be exactly 32 hex digits"),
            ("01" * 16, "would be the same key"),
        ):
            await answer(s, bad)
            assert says in str(s.screen.query_one("#wrong").render())
            assert bad.lower() not in s.app.export_screenshot().lower()
        await answer(s, KEY)
        await answer(s, KEY[:-1])
        assert "not the same" in str(s.screen.query_one("#wrong").render())
        await s.press(KEY[-1], "enter")
        assert s.gateway.kept_secrets.encryption_key.hex().upper() == KEY
        assert s.gateway.commands == ["set secrets encryption_key"]
        assert KEY.lower() not in seen(s)
        await go(s, "lls_password")
        await s.press("enter")
        await answer(s, "grün")
        assert "1 to 64 printable ASCII" in str(s.screen.query_one("#wrong").render())
        await s.press("escape")
        assert s.gateway.kept_secrets.lls_password == "recorded-password"


async def test_a_hidden_answer_does_not_reach_the_clipboard(opened):
    """Cut from its field, it is gone; other text is kept."""
    async with opened() as s:
        await go(s, "lls_password")
        await s.press("enter", *"secret", "shift+home", "ctrl+x")
        assert (s.app.focused.value, s.app.clipboard) == ("", "")
        await s.press("escape", "slash", *"port", "shift+home", "ctrl+x")
        assert s.app.clipboard == "port"


async def test_keys_of_meters_are_added_and_replaced_by_identification(opened):
    """8 digits; one that has a key is pointed to."""
    async with opened() as s:
        await go(s, "meter_keys.")
        await s.press("enter")
        await answer(s, "1234")
        assert "8 digits" in str(s.screen.query_one("#wrong").render())
        for text in ("12345678", KEY, KEY):
            await answer(s, text)
        assert s.gateway.kept_secrets.meter_keys == {"12345678": bytes.fromhex(KEY)}
        assert shown_fingerprint(bytes.fromhex(KEY)) in row(s, "meter_keys.12345678")
        await s.press("v")
        assert KEY in about(s)
        await go(s, "meter_keys.")
        await s.press("enter")
        await answer(s, "12345678")
        assert "has a key" in str(s.screen.query_one("#wrong").render())
        await s.press("escape")
        await go(s, "meter_keys.12345678")
        other = KEY[::-1]
        await s.press("enter")
        await answer(s, other)
        await answer(s, other)
        assert s.gateway.kept_secrets.meter_keys == {"12345678": bytes.fromhex(other)}


async def test_a_port_of_the_command_line_is_told(opened):
    """The new port is saved and does not show before a start without it."""
    gateway = RecordedGateway()
    gateway.current = replace(gateway.current, dlms=replace(gateway.current.dlms, port=40591))
    async with opened(gateway) as s:
        await enter(s, "dlms.port", "4060")
        assert "holds from a start without --dlms-host and --dlms-port on" in s.lines("#changes")


async def test_help_names_every_key(opened):
    """What the footer offers somewhere stands in the help."""
    async with opened(size=(120, 60)) as s:
        await s.press("f1")
        help_text = s.lines("#help")
        for key in ("Enter", "←→", "Space", " d ", " v ", " g ", " s ", " x ", " u ", " / ", "F3"):
            assert key in help_text


def test_typing_right_after_enter_goes_into_the_field(start):
    """On a terminal that sends all keys at once, as when a value is pasted."""
    program = start()
    program.until_shown("F10 Quit")
    program.press("F3")
    program.until_shown("Serial number")
    program.press(*"jjj", "\r", *" paste", "\r")
    program.until_shown("Name: Cellar 3 → Cellar 3 paste")
    program.process.send_signal(signal.SIGTERM)
    assert program.ended() == 0
