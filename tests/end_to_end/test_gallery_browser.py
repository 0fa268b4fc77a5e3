"""The gallery in a real browser, opened from a file:// URL."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from guidebench.report.gallery import write_gallery

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
HOSTILE = '</script><script>document.title="owned"</script> <b>two</b> red circles'
PROMPTS = {"colors-0": HOSTILE, "colors-1": "a blue square", "counting-0": "three green triangles"}
METHODS = ("none", "one_step", "doodl")

pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="needs Chromium and chromedriver on the PATH (Debian: apt install chromium-driver)",
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for flag in (*FLAGS, "--window-size=1280,900", f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=str(DRIVER)))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 prompts × 2 seeds × 3 methods: one failed sample, one that was never run, one stored file gone."""
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "runs").mkdir()
    rows: list[dict[str, Any]] = []
    for c, (case_id, prompt) in enumerate(PROMPTS.items()):
        for seed in range(2):
            for m, method in enumerate(METHODS):
                image = folder / "runs" / f"{case_id} {seed} {method}.png"
                failed = (case_id, seed, method) == ("colors-1", 1, "doodl")
                if (case_id, seed, method) == ("counting-0", 0, "one_step"):
                    continue
                if not failed and (case_id, seed, method) != ("colors-1", 0, "one_step"):
                    Image.new("RGB", (64, 64), (80 * c, 100 * m, 100 * seed)).save(image)
                rows.append(
                    {
                        "row": method,
                        "case_id": case_id,
                        "seed": seed,
                        "problem.category": case_id.split("-")[0],
                        "caption": prompt,
                        "status": "failed" if failed else "ok",
                        "failure": "x_t became non-finite at step 3" if failed else "",
                        "clip_score": float("nan")
                        if failed
                        else [0.2, 0.4, 0.3][c] + 0.01 * seed + [0, 0.03, 0.01][m] * c,
                        "prompt_success": float("nan") if failed else 100.0 * (m == 2 or c == 0),
                        "nfe_fwd": 50,
                        "nfe_bwd": 0,
                        "seconds": 1.5,
                        "peak_memory_mb": 900.0,
                        "parts": {"sample": str(image)},
                        "config": {"method": {"name": method, "variant": "paper"}, "cfg_scale": 7.5},
                        "config_hash": f"{m}abcdef0123456789",
                    }
                )
    return write_gallery(
        pd.DataFrame(rows),
        folder / "gallery.html",
        title="Scenes",
        metrics={"clip_score": True, "prompt_success": True},
        setting="suite embedded",
        order=METHODS,
    )


@pytest.fixture
def gallery(driver: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    driver.get("about:blank")
    driver.get(page.as_uri())
    return driver


def shown(gallery: webdriver.Chrome) -> list[tuple[str, int]]:
    """(case, seed) of the visible rows, in their order on the page."""
    found = gallery.execute_script(
        "return [...document.querySelectorAll('article.row')].filter((row) => row.offsetParent)"
        ".map((row) => [...row.querySelectorAll('.about .soft')].map((line) => line.textContent))"
    )
    return [(case, int(where.split("seed ")[1])) for where, case in found]


def choose(gallery: webdriver.Chrome, control: str, text: str) -> None:
    Select(gallery.find_element(By.ID, control)).select_by_visible_text(text)


def sample(gallery: webdriver.Chrome, row: int, method: str) -> WebElement:
    article = gallery.find_elements(By.CSS_SELECTOR, "article.row")[row]
    return article.find_element(By.CSS_SELECTOR, f"[data-column='{METHODS.index(method)}']")


def test_opens_from_a_file_without_errors_and_without_running_prompts(gallery: webdriver.Chrome) -> None:
    assert gallery.current_url.startswith("file://")
    assert gallery.title == "Scenes"
    assert len(shown(gallery)) == 6
    assert gallery.find_element(By.CSS_SELECTOR, "article .text").text == HOSTILE
    summary = gallery.find_element(By.ID, "summary").text
    assert summary == "suite embedded · 3 cases × 2 seeds × 3 methods, 17 samples, 1 failed"
    assert gallery.get_log("browser") == []


def test_images_are_decoded_and_failures_say_why(gallery: webdriver.Chrome) -> None:
    WebDriverWait(gallery, 10).until(
        lambda browser: (
            browser.execute_script("return document.querySelector('.sample img').naturalWidth") == 64
        )
    )
    assert "failed: x_t became non-finite at step 3" in sample(gallery, 3, "doodl").text
    assert "no image: the file is missing" in sample(gallery, 2, "one_step").text
    assert sample(gallery, 4, "one_step").text == "not run"


def test_sorts_by_a_metric_of_a_method_both_ways_with_missing_last(gallery: webdriver.Chrome) -> None:
    choose(gallery, "measure", "clip_score ↑")
    choose(gallery, "minuend", "doodl")
    falling = [("counting-0", 1), ("counting-0", 0), ("colors-0", 1), ("colors-0", 0)]
    assert shown(gallery) == [("colors-1", 0), *falling, ("colors-1", 1)]
    gallery.find_element(By.ID, "direction").click()
    assert shown(gallery) == [*reversed(falling), ("colors-1", 0), ("colors-1", 1)]


def test_sorts_by_the_difference_of_two_methods(gallery: webdriver.Chrome) -> None:
    choose(gallery, "measure", "clip_score ↑")
    choose(gallery, "minuend", "one_step")
    choose(gallery, "subtrahend", "none")
    assert shown(gallery) == [
        ("counting-0", 1),
        ("colors-1", 0),
        ("colors-1", 1),
        ("colors-0", 0),
        ("colors-0", 1),
        ("counting-0", 0),
    ]
    assert gallery.find_element(By.CSS_SELECTOR, ".delta").text == "clip_score, one_step − none: +0.060"


def test_filters_by_category_seed_search_and_outcome(gallery: webdriver.Chrome) -> None:
    choose(gallery, "category", "counting")
    assert {case for case, _ in shown(gallery)} == {"counting-0"}
    choose(gallery, "seed", "1")
    assert shown(gallery) == [("counting-0", 1)]
    gallery.find_element(By.ID, "search").send_keys("blue")
    assert shown(gallery) == []
    gallery.find_element(By.ID, "reset").click()
    assert len(shown(gallery)) == 6

    gallery.find_element(By.TAG_NAME, "body").send_keys("/")
    gallery.switch_to.active_element.send_keys("SQUARE blue")
    assert shown(gallery) == [("colors-1", 0), ("colors-1", 1)]
    gallery.find_element(By.ID, "search").send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE)
    choose(gallery, "outcome", "rows with a failure")
    assert shown(gallery) == [("colors-1", 1)]
    choose(gallery, "outcome", "rows without failures")
    assert len(shown(gallery)) == 5
    choose(gallery, "outcome", "prompt_success: methods disagree")
    assert shown(gallery) == [("colors-1", 0), ("counting-0", 0), ("counting-0", 1)]


def test_hides_methods(gallery: webdriver.Chrome) -> None:
    gallery.find_element(By.CSS_SELECTOR, "[data-chip='2']").click()
    assert not sample(gallery, 0, "doodl").is_displayed()
    assert sample(gallery, 0, "one_step").is_displayed()
    choose(gallery, "outcome", "rows with a failure")
    assert shown(gallery) == []


def test_the_address_keeps_the_view(gallery: webdriver.Chrome, page: Path) -> None:
    choose(gallery, "measure", "clip_score ↑")
    choose(gallery, "category", "colors")
    address, order = gallery.current_url, shown(gallery)
    gallery.get("about:blank")
    gallery.get(address)
    assert shown(gallery) == order
    gallery.get("about:blank")
    gallery.get(f"{page.as_uri()}#measure=99&hidden=x&category=gone")
    assert len(shown(gallery)) == 6
    assert gallery.get_log("browser") == []


def test_details_show_metrics_costs_and_the_config(gallery: webdriver.Chrome) -> None:
    sample(gallery, 0, "doodl").click()
    panel = gallery.find_element(By.ID, "panel")
    assert panel.is_displayed()
    assert gallery.find_element(By.ID, "panel-title").text == "doodl"
    assert gallery.find_element(By.ID, "panel-prompt").text == HOSTILE
    measures = [row.text for row in gallery.find_elements(By.CSS_SELECTOR, "#panel-measures tr")]
    assert "clip_score ↑ 0.200 0.200 0.200" in measures
    assert "nfe_fwd 50 50 50" in measures
    config = gallery.find_element(By.CSS_SELECTOR, "#panel-config pre")
    assert not config.is_displayed()
    gallery.find_element(By.CSS_SELECTOR, "#panel-config summary").click()
    assert config.text == "method:\n  name: doodl\n  variant: paper\ncfg_scale: 7.5"
    link = gallery.find_element(By.CSS_SELECTOR, "#panel-figure a")
    assert str(link.get_attribute("href")).endswith("/runs/colors-0%200%20doodl.png")
    WebDriverWait(gallery, 10).until(
        lambda browser: (
            browser.execute_script("return document.querySelector('#panel-figure img').naturalWidth") == 64
        )
    )
    gallery.find_element(By.ID, "panel-close").click()
    assert not panel.is_displayed()


def test_the_keyboard_reaches_everything(gallery: webdriver.Chrome) -> None:
    first = sample(gallery, 0, "none")
    first.send_keys(Keys.ARROW_RIGHT)
    assert gallery.switch_to.active_element == sample(gallery, 0, "one_step")
    gallery.switch_to.active_element.send_keys(Keys.ENTER)
    title = gallery.find_element(By.ID, "panel-title")
    assert title.text == "one_step"
    # Four rows down this method was never run: the arrow steps over the gap.
    for _ in range(4):
        gallery.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert gallery.find_element(By.ID, "panel-where").text == "counting · seed 1 · case counting-0"
    gallery.switch_to.active_element.send_keys(Keys.ARROW_UP, Keys.ARROW_UP, Keys.ARROW_RIGHT)
    assert not gallery.find_element(By.ID, "panel-failure").is_displayed()
    gallery.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert "x_t became non-finite at step 3" in gallery.find_element(By.ID, "panel-failure").text
    gallery.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not gallery.find_element(By.ID, "panel").is_displayed()
    WebDriverWait(gallery, 10).until(
        lambda browser: browser.switch_to.active_element == sample(gallery, 3, "doodl")
    )
