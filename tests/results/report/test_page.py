"""The page in a real Chromium: nothing leaves it, tables sort and filter, links lead from numbers to runs and back.

``python -m tests.tools.screenshots`` takes the pictures that a change of its looks should be judged by.
"""

import shutil

import pytest

from results import report
from results.report.sections.runs import method_anchor, runs_anchor
from tests.tools.synthetic_grid import write_grid

pytestmark = pytest.mark.slow

METHODS = ("simclr", "byol", "barlow[<b>&scale=0.1]", "vicreg", "dino", "relational[views=4]", "supervised", "random")
TABLE = ("quick", 1, "controlled", "conv4")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(names)} is installed")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A page with figures, tables and runs, written once."""
    folder = tmp_path_factory.mktemp("page")
    write_grid(folder / "runs", METHODS, ("cifar10", "shapes"), seeds=2)
    report.write(folder / "runs", folder / "report")
    return folder / "report" / "index.html"


@pytest.fixture
def opened(browser, path):
    """Returns an open page, and whatever it asked of the network or wrote to the console."""
    contexts = []

    def open_page(width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page, noise = context.new_page(), []
        page.on("request", lambda request: noise.append(request.url) if request.url != path.as_uri() else None)
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.goto(path.as_uri())
        return page, noise

    yield open_page
    for context in contexts:
        context.close()


def column(page, number):
    """The texts of a column of the main table's middle group, from the top."""
    return page.eval_on_selector(
        "table", "(table, i) => [...table.tBodies[1].rows].map(row => row.cells[i].textContent.trim())", number
    )


def test_no_request_leaves_and_the_console_is_silent(opened):
    page, noise = opened()
    page.locator("summary").first.click()
    page.locator("th button").first.click()
    assert noise == []
    policy = page.locator("meta[http-equiv]").get_attribute("content")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_policy_holds_back_what_is_no_part_of_the_page(opened):
    page, noise = opened()
    # In the page's context, as a label that was not escaped would be; evaluate() itself is above the policy.
    page.eval_on_selector(
        "body",
        """body => {
        const script = document.createElement("script");
        script.textContent = "window.foreign = true";
        body.append(script);
        const image = document.createElement("img");
        image.src = "https://example.org/x.png";
        body.append(image);
    }""",
    )
    assert page.evaluate("window.foreign") is None
    assert any("Content Security Policy" in line for line in noise)


def test_a_click_or_a_key_sorts_and_the_third_restores(opened):
    page, _ = opened()
    before = column(page, 0)
    assert before == ["simclr", "byol", "barlow[<b>&scale=0.1]", "vicreg", "dino", "relational[views=4]"]
    header = page.locator("table").first.locator("th[scope=col]", has_text="linear").first
    button = header.get_by_role("button")
    button.click()
    numbers = [float(text.split()[0]) for text in column(page, 1)]
    assert numbers == sorted(numbers, reverse=True)
    assert header.get_attribute("aria-sort") == "descending"
    button.focus()
    page.keyboard.press("Enter")
    assert [float(text.split()[0]) for text in column(page, 1)] == sorted(numbers)
    page.keyboard.press("Space")
    assert column(page, 0) == before
    assert header.get_attribute("aria-sort") == "none"
    page.locator("th button", has_text="method").first.click()
    assert column(page, 0) == sorted(before)


def test_units_count_when_costs_are_sorted(opened):
    page, _ = opened()
    page.locator("summary", has_text="Cost").click()
    table = page.locator("details[open] table")
    table.locator("th button", has_text="pretraining").click()
    texts = table.locator("tbody tr td:nth-child(4)").all_inner_texts()
    assert len({text.split()[1] for text in texts}) > 1
    units = {"s": 1, "min": 60}
    seconds = [float(text.split()[0]) * units[text.split()[1]] for text in texts if text != "0 s"]
    assert seconds == sorted(seconds, reverse=True)


def test_rows_are_filtered_by_words(opened):
    page, _ = opened()
    page.locator("summary", has_text="Runs:").click()
    page.locator("details[open]").get_by_role("searchbox").first.fill("byol cifar10")
    rows = page.locator("details[open] tbody tr").locator("visible=true")
    assert rows.count() == 2
    assert all("byol" in text and "cifar10" in text for text in rows.all_inner_texts())
    assert page.locator("details[open] output").first.inner_text() == "2 of 32 rows"


def test_a_number_leads_to_its_runs_and_back(opened):
    page, _ = opened()
    target, method = runs_anchor(TABLE, "cifar10", "byol"), method_anchor(TABLE, "byol")
    page.locator(f"table a[href='#{target}']").first.click()
    row = page.locator(f"#{target}")
    assert row.is_visible()
    assert "byol" in row.inner_text()
    assert page.evaluate("document.querySelector(':target').id") == target
    row.locator("a", has_text="0123456").click()
    assert "0123456789abcdef0123456789abcdef01234567" in page.locator("tr:target").inner_text()
    page.go_back()
    row.locator("a", has_text="settings").click()
    assert "method.name=byol" in page.locator("tr:target").inner_text()
    page.locator("tr:target a").first.click()
    row.locator("th a").click()
    assert page.locator("tr:target").get_attribute("id") == method


def test_every_link_leads_somewhere(opened):
    page, _ = opened()
    links = page.eval_on_selector_all("a", "links => links.map(link => link.getAttribute('href').slice(1))")
    names = page.eval_on_selector_all("[id]", "all => all.map(one => one.id)")
    assert set(links) <= set(names)
    assert len(names) == len(set(names))


CONTRAST = """() => {
    const channels = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = element => {
        for (let one = element; one; one = one.parentElement) {
            const colour = channels(getComputedStyle(one).backgroundColor);
            if (colour.length === 3 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const texts = [...document.querySelectorAll("body *")].filter(element => !element.closest("svg, script")
        && [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
    return texts.map(element => {
        const [a, b] = [getComputedStyle(element).color, null].map((c, i) => light(i ? ground(element) : channels(c)));
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.textContent.trim().slice(0, 40)];
    });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_enough(opened, scheme):
    page, _ = opened(color_scheme=scheme)
    found = page.evaluate(CONTRAST)
    assert len(found) > 100
    assert [text for ratio, text in found if ratio < 4.5] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page, _ = opened(color_scheme=scheme)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_phone_shows_everything_without_scrolling_the_page(opened):
    page, _ = opened(width=375)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 375
    boxes = page.eval_on_selector_all(
        ".caption, figcaption, h2, li", "all => all.map(one => one.getBoundingClientRect()).map(b => [b.left, b.right])"
    )
    assert all(left >= 0 and right <= 375 for left, right in boxes)


def test_headers_stay_in_sight(opened):
    page, _ = opened(width=375)
    moved = page.eval_on_selector(
        ".scroll",
        """box => {
            const left = () => box.querySelector("tbody th").getBoundingClientRect().left;
            const before = left();
            box.scrollLeft = 120;
            return [box.scrollLeft, left() - before];
        }""",
    )
    assert moved == [120, 0]


def test_print_loses_nothing(opened):
    page, _ = opened(width=794)  # A4 at 96 dots per inch
    page.emulate_media(media="print")
    hidden = "all => all.filter(one => !one.checkVisibility()).map(one => one.textContent.trim())"
    assert page.eval_on_selector_all("main td, main th, main p, main li, main svg", hidden) == []
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert (
        page.eval_on_selector_all("table", "all => Math.max(...all.map(one => one.getBoundingClientRect().right))")
        <= 794
    )
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0


def test_everything_can_be_read_without_the_script(opened):
    page, _ = opened(java_script_enabled=False)
    assert page.locator("th button, .filter").count() == 0
    assert page.locator("table").first.locator("tbody tr").count() == len(METHODS)
    assert page.locator("ul.lead li").first.is_visible()
    page.locator("summary", has_text="Runs:").click()
    assert page.locator(f"#{runs_anchor(TABLE, 'shapes', 'vicreg')}").is_visible()


OVERLAPS = """() => [...document.querySelectorAll("figure svg")].flatMap(svg => {
    const texts = [...svg.querySelectorAll("g[id*='text_']")].map(one => one.getBoundingClientRect())
        .filter(box => box.width > 0);
    const lap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    return texts.flatMap((box, i) => texts.slice(i + 1).filter(other => lap(box, other)).map(
        () => svg.querySelector("title").textContent));
})"""

SORT_FIVE_TIMES = """() => {
    for (const button of [...document.querySelector("table").querySelectorAll("th button")].slice(0, 5)) {
        button.click();
        document.body.getBoundingClientRect();
    }
}"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The page of 30 methods on 10 data sets with 5 seeds."""
    folder = tmp_path_factory.mktemp("large")
    write_grid(folder / "runs")
    report.write(folder / "runs", folder / "report")
    return folder / "report" / "index.html"


def test_a_page_of_thirty_methods_is_small_and_quick_and_nothing_overlaps(browser, large):
    assert large.stat().st_size < 3_000_000
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(large.as_uri())
    assert page.locator("table").first.locator("tbody tr").count() == 30
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})  # of the processor, whatever else it does

    def seconds():
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    before = seconds()
    page.evaluate(SORT_FIVE_TIMES)
    assert (seconds() - before) / 5 < 0.1
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 1280
    page.close()
