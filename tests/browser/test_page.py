"""The studio's page in a real browser, on the embedded model."""

import numpy as np

from stable_audio_mlx import audio

from ..unit.studio import SAID

SECONDS = 0.5


def drop(tab, name="loop.wav", seconds=SECONDS, data=None):
    """Drop a file on the page, as from a file manager."""
    if data is None:
        wave = 0.3 * np.sin(np.arange(int(seconds * 44100)) / 20).astype(np.float32)
        data = audio.wav_bytes(np.stack([wave, wave]), 44100)
    transfer = tab.page.evaluate_handle(
        """([name, bytes]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "audio/wav" }));
            return transfer;
        }""",
        [name, list(data)],
    )
    for kind in ("dragenter", "dragover", "drop"):
        tab.page.dispatch_event("body", kind, {"dataTransfer": transfer})


def test_a_take_is_made_and_heard(tab):
    tab.say("kick drum", count=2).make()
    tab.page.locator("#cards .card.playing").wait_for()
    tab.cards.nth(1).wait_for()
    first, second = tab.take(tab.cards.nth(1)), tab.take(tab.cards.nth(0))
    assert first["prompt"] == "kick drum" and first["seconds"] == SECONDS and second["seed"] == first["seed"] + 1
    assert tab.page.locator("#now-name").inner_text() == "kick drum"
    tab.page.locator("#jobs .card").wait_for(state="detached")
    tab.page.locator(".card.playing").wait_for(state="detached")  # it ends by itself
    details = tab.cards.nth(0).locator("details")
    details.locator("summary").click()
    assert str(second["seed"]) in details.inner_text() and "tiny" in details.inner_text()


def test_again_has_another_seed_and_the_same_settings(tab):
    card = tab.made("snare drum")
    before = tab.take(card)
    card.get_by_role("button", name="Again").click()
    tab.page.wait_for_function("id => document.querySelector('#cards .card').dataset.take !== id", arg=before["id"])
    after = tab.take(tab.cards.first)
    assert after["seed"] != before["seed"] and after["settings"]["steps"] == 2 and after["prompt"] == "snare drum"


def test_play_pause_and_pads(tab):
    for name in ("one kick drum", "bass note"):
        tab.made(name, seconds=4)
    page, playing = tab.page, tab.page.locator("#cards .card.playing")
    page.locator("h1").click()  # out of the form
    page.keyboard.press("Escape")
    playing.first.wait_for(state="detached")
    page.keyboard.press("a")
    page.keyboard.press("s")
    playing.nth(1).wait_for()
    assert playing.count() == 2 and tab.cards.nth(0).locator(".pad").inner_text() == "A"
    page.keyboard.press("Space")
    playing.first.wait_for(state="detached")
    page.keyboard.press("Space")
    playing.first.wait_for()
    assert page.locator("#play").get_attribute("aria-label") == "Pause"
    tab.cards.nth(0).get_by_role("button", name="Play").click()  # another one instead
    page.wait_for_function("() => document.querySelector('#cards .card').classList.contains('playing')")
    assert playing.count() == 1
    page.click("#open-help")
    page.uncheck("#pads")
    page.keyboard.press("Escape")
    page.click("#play")
    playing.first.wait_for(state="detached")
    page.keyboard.press("a")
    page.fill("#prompt", "")
    page.keyboard.type("as d")
    assert page.input_value("#prompt") == "as d" and playing.count() == 0


def test_compare_goes_on_at_the_same_place(tab):
    for name in ("house beat", "rock beat"):
        tab.made(name, seconds=4)
    page = tab.page
    page.keyboard.press("Escape")
    page.click("#compare")
    first, second = tab.cards.nth(0), tab.cards.nth(1)
    box = first.locator(".wave").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 10)
    page.wait_for_function("() => document.querySelector('#cards .card').classList.contains('playing')")
    second.get_by_role("button", name="Play").click()
    page.wait_for_function("() => Number(document.querySelectorAll('#cards .wave')[1].ariaValueNow) >= 2")
    page.click("#loop")
    assert page.get_attribute("#loop", "aria-pressed") == "true"


def test_a_dropped_file_is_varied_and_a_part_of_it_remade(tab, client):
    drop(tab)
    tab.page.locator("#source-view .wave").wait_for()
    assert "loop.wav" in tab.page.locator("#source-view").inner_text()
    varied = tab.take(tab.made("a clap"))
    assert varied["request"]["init_audio"].startswith("upload-") and varied["seconds"] == SECONDS
    tab.drag(tab.page.locator("#source-view .wave"), 0.4, 0.8)
    assert tab.page.locator("input[value=remake]").is_checked()
    made = tab.take(tab.made("hand claps"))
    (start, end), sound = made["request"]["inpaint"][0], tab.samples(made)
    given = 0.3 * np.sin(np.arange(22050) / 20).astype(np.float32)
    assert start / SECONDS == np.clip(start / SECONDS, 0.38, 0.42) and end / SECONDS == np.clip(
        end / SECONDS, 0.78, 0.82
    )
    assert np.array_equal(sound[: int(start * 44100), 0], given[: int(start * 44100)])
    assert not np.allclose(sound[:, 0], given, atol=1e-3)
    tab.page.get_by_role("button", name="Without loop.wav").click()
    assert tab.page.locator("#drop").is_visible()


def test_what_is_no_sound_is_said(tabs):
    tab = tabs()
    drop(tab, "notes.txt", data=b"no sound")
    tab.page.locator("#problem").wait_for()
    assert tab.page.locator("#problem").inner_text().startswith("notes.txt: ")
    tabs.errors.clear()  # the browser's own line about the 400


def test_a_selected_part_of_a_take_is_remade(tab, client):
    card = tab.made("deep kick drum")
    before = tab.take(card)
    tab.drag(card.locator(".wave"), 0.5, 0.9)
    card.get_by_role("button", name="Remake").click()
    tab.page.wait_for_function("id => document.querySelector('#cards .card').dataset.take !== id", arg=before["id"])
    after = tab.take(tab.cards.first)
    start = int(after["request"]["inpaint"][0][0] * 44100)
    old, new = tab.samples(before), tab.samples(after)
    assert np.array_equal(old[:start], new[:start]) and not np.array_equal(old, new)


def test_a_take_is_continued_to_the_length_of_the_form(tab, client):
    card = tab.made("riser")
    before = tab.take(card)
    tab.page.fill("#seconds", "1")
    tab.drag(card.locator(".wave"), 0.6, 0.8)
    card.get_by_role("button", name="Go on from here").click()
    tab.page.wait_for_function("id => document.querySelector('#cards .card').dataset.take !== id", arg=before["id"])
    after = tab.take(tab.cards.first)
    assert after["seconds"] == 1.0 and after["request"]["inpaint"][0][1] == 1.0
    kept = int(after["request"]["inpaint"][0][0] * 44100)
    assert np.array_equal(tab.samples(before)[:kept], tab.samples(after)[:kept])


def test_a_selection_by_keys(tab):
    card = tab.made("closed hat")
    tab.page.keyboard.press("Escape")  # it doesn't play any more
    card.locator(".wave").focus()
    for key in ("Home", *["Shift+PageUp"] * 3):
        tab.page.keyboard.press(key)
    assert "0.00 to 0.15" in card.locator(".range").inner_text()
    assert card.locator(".wave").get_attribute("aria-valuetext").endswith("selected 0.00 to 0.15")
    tab.page.keyboard.press("Escape")
    assert not card.locator(".range").is_visible()


def test_a_job_is_cancelled(tab, client):
    tab.say("a very long siren", steps=900).make()
    state = tab.jobs.locator(".state")
    state.filter(has_text="of 900").wait_for()
    tab.jobs.get_by_role("button", name="Cancel").click()
    tab.jobs.first.wait_for(state="detached")
    assert (
        client.studio.queue.list()[-1]["state"] == "cancelled"
        and "a very long siren" not in tab.cards.all_inner_texts()
    )


def test_a_reload_loses_nothing(tab, client):
    tab.say("light rain", steps=60, count=2).make()
    tab.jobs.first.wait_for()
    tab.page.reload()
    tab.jobs.first.wait_for()
    assert "light rain" in tab.jobs.first.inner_text() and tab.page.input_value("#prompt") == "light rain"
    tab.jobs.first.wait_for(state="detached")
    assert tab.cards.filter(has_text="light rain").count() == 2


def test_two_tabs_show_the_same(tabs, client):
    one, two = tabs(), tabs()
    card = one.made("heavy rain")
    id = card.get_attribute("data-take")
    two.page.locator(f"[data-take={id}]").wait_for()
    one.page.bring_to_front()
    assert two.page.locator(".card.playing").count() == 0  # heard where it was asked for
    card.locator("summary").click()
    card.get_by_role("button", name="Delete").click()
    one.page.get_by_role("button", name="Undo").click()
    card.wait_for()
    card.get_by_role("button", name="Delete").click()
    one.page.goto("about:blank")  # what was deleted is gone, even if the page is left at once
    two.page.locator(f"[data-take={id}]").wait_for(state="detached")


def test_endless_makes_the_next_while_one_plays(tab, client):
    tab.say("plucked string", seconds=1)
    tab.page.click("#endless")
    playing = tab.page.locator("#cards .card.playing")
    playing.wait_for()
    first = playing.get_attribute("data-take")
    tab.page.wait_for_function(
        "id => { const on = document.querySelector('.card.playing'); return on && on.dataset.take !== id }", arg=first
    )
    tab.page.click("#endless")
    tab.jobs.first.wait_for(state="detached")
    assert client.studio.queue.active == 0


def test_bars_and_loops(tab, client):
    page = tab.say("plucked string in a").page
    page.check("input[value=bars]", force=True)
    for name, value in (("bars", "1"), ("bpm", "240")):
        page.fill(f"#{name}", value)
    page.select_option("#key", "A minor")
    page.check("#seamless")
    tab.make()
    tab.cards.filter(has_text="plucked string in a").first.wait_for()
    take = tab.take(tab.cards.first)
    assert take["seconds"] == 1.0 and take["settings"]["loop"] and take["settings"]["key"] == "A minor"
    assert take["request"]["bars"] == 1 and take["request"]["bpm"] == 240


def test_what_cannot_be_is_said(tabs):
    tab = tabs()
    page = tab.page
    tab.make()
    assert "Say what you want to hear" in page.locator("#problem").inner_text()
    tab.say("x", steps=1)
    page.check("input[value=bars]", force=True)
    page.fill("#bars", "40")
    hint = page.locator("#length-hint").inner_text()
    assert hint.startswith("80.0 s: ") and f"makes {SAID:.2f} s at once" in hint
    page.fill("#bars", "999")
    tab.make()
    page.locator("#problem", has_text="the most is 600").wait_for()
    page.fill("#cfg", "1")
    assert (
        page.locator("#negative").is_disabled()
        and "guidance other than 1" in page.locator("#negative-hint").inner_text()
    )
    page.fill("#cfg", "3")
    assert page.locator("#negative").is_enabled()
    tabs.errors.clear()  # the browser's own line about the 400


def test_everything_has_a_name_and_can_be_reached(tab):
    tab.made("a minor chord")
    nameless = tab.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, summary, a, [role=slider]")]
            .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length)).map((e) => e.outerHTML)"""
    )
    assert nameless == []
    assert tab.page.locator("#live").get_attribute("aria-live") == "polite"
    assert "is ready" in tab.page.locator("#live").inner_text()
    assert tab.page.locator("h1").count() == 1 and tab.page.get_by_role("main").count() == 1


def test_the_button_is_in_sight_however_long_the_form_is(tab):
    box = tab.say("kick drum").page.locator("#make").bounding_box()
    assert box["y"] + box["height"] < tab.page.viewport_size["height"]


def test_the_width_of_a_phone(tabs):
    tab = tabs(width=360, height=740)
    card = tab.made("noise sweep up")
    card.locator("summary").click()
    tab.drag(card.locator(".wave"), 0.2, 0.6)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
    small = tab.page.evaluate(
        """() => [...document.querySelectorAll("button, select, input[type=number], input[type=text]")]
            .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 36).map((e) => e.outerHTML)"""
    )
    assert small == []
