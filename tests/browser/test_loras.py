"""The sliders for LoRAs: what they show is what takes are made with."""

import numpy as np
import pytest

from ..unit import loras, studio

LONG = "for another model, and with a name that has no room beside a slider"


@pytest.fixture(scope="module")
def client(tmp_path_factory, chromium):
    folder = tmp_path_factory.mktemp("loras")
    loras.write(folder / "drums.safetensors", config=studio.CONFIG, part="self_attn")
    loras.write(folder / f"{LONG}.safetensors")
    with studio.running(tmp_path_factory.mktemp("library"), loras=folder) as client:
        yield client


def slide(slider, steps):
    """Move a slider by keys, from its lowest value up."""
    slider.focus()
    for key in ("Home", *["ArrowRight"] * steps):
        slider.press(key)


def made(tab):
    """(what the page asked for, the take that came of it)."""
    before = tab.cards.count()
    with tab.page.expect_request("**/v1/jobs") as sent:
        tab.make()
    tab.cards.nth(before).wait_for()
    return sent.value.post_data_json, tab.take(tab.cards.first)


def test_a_take_is_made_with_what_the_slider_says(tab, client):
    page = tab.say("kick drum").page
    page.fill("#seed", "7")
    drums = page.locator("#loras label", has_text="drums")
    slider, shown = drums.locator("input"), drums.locator("output")
    assert page.locator("#loras").is_visible() and shown.inner_text() == "off"
    (asked, plain) = made(tab)
    assert "lora" not in asked and "lora" not in plain["request"]
    slide(slider, 16)
    assert shown.inner_text() == "0.80"
    (asked, on) = made(tab)
    assert asked["lora"] == on["request"]["lora"] == [["drums", 0.8]]
    assert "drums 0.8" in tab.cards.first.locator(".facts").text_content()
    slide(slider, 0)
    assert shown.inner_text() == "off"
    (_, off) = made(tab)
    assert plain["seed"] == on["seed"] == off["seed"] == 7
    sounds = [tab.samples(take) for take in (plain, on, off)]
    assert np.array_equal(sounds[0], sounds[2]) and not np.allclose(sounds[0], sounds[1], atol=1e-3)


def test_the_settings_of_a_take_move_the_slider_and_a_reload_keeps_it(tab, client):
    client.take(lora=[["drums", 0.35]], prompt="a soft tom")
    card = tab.cards.filter(has_text="a soft tom").first
    card.locator("summary").click()
    card.get_by_role("button", name="Use these settings").click()
    slider = tab.page.locator("#loras label", has_text="drums").locator("input")
    assert slider.input_value() == "0.35"
    slide(slider, 20)
    tab.page.reload()
    slider.wait_for()
    assert slider.input_value() == "1"


def test_what_does_not_fit_the_model_cannot_be_moved_and_says_why(tab):
    other = tab.page.locator("#loras label", has_text=LONG)
    assert other.locator("input").is_disabled() and "is not for" in other.locator(".hint").inner_text()
    boxes = [slider.bounding_box() for slider in tab.page.locator("#loras input").all()]
    assert len({box["width"] for box in boxes}) == 1 and boxes[0]["width"] > 200
