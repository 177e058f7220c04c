"""The interactive page in headless Chromium: what a person sees, points at, clicks and types. Skipped where there is none."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import rnn, viz

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no chromium with chromedriver on PATH")

FLAGS = [
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--window-size=1400,900",
]
SHIFT = "\ue008"  # the WebDriver standard's code of the Shift key
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the WebDriver standard's name for a reference to an element


class Browser:
    """Chromium driven by the WebDriver protocol, which is JSON over HTTP."""

    def __init__(self, profile: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.driver = subprocess.Popen(
            [str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        for _ in range(200):
            try:
                session = self.call("/session", {"capabilities": {"alwaysMatch": wanted}})
                break
            except urllib.error.URLError:
                time.sleep(0.05)
        else:
            raise RuntimeError("chromedriver does not answer")
        self.url += f"/session/{session['sessionId']}"

    def call(self, path: str, data: Any = None, method: str = "POST") -> Any:
        body = json.dumps({} if data is None else data).encode() if method == "POST" else None
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.load(error)["value"]["message"]) from None

    def open(self, path: Path) -> None:
        """Open a page and wait until it takes keys: Chromium drops input until the first frame of a page is shown."""
        self.call("/url", {"url": path.as_uri()})
        self.js("document.addEventListener('keyup', () => { window.takesKeys = true; }, { once: true });")
        for _ in range(100):
            self.keys(SHIFT)
            if self.js("return window.takesKeys === true"):
                return
        raise RuntimeError(f"{path} takes no keys")

    def js(self, code: str, *arguments: Any) -> Any:
        return self.call("/execute/sync", {"script": code, "args": list(arguments)})

    def find(self, css: str) -> Any:
        return self.call("/element", {"using": "css selector", "value": css})

    def click(self, css: str) -> None:
        self.call(f"/element/{self.find(css)[ELEMENT]}/click")
        self.wait_until_still()

    def point(self, css: str, clicks: int = 0) -> None:
        """Move the pointer to the middle of an element, and click."""
        move = {"type": "pointerMove", "duration": 0, "origin": self.find(css), "x": 0, "y": 0}
        press = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}] * clicks
        self.call("/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move, *press]}]})
        self.wait_until_still()

    def keys(self, text: str) -> None:
        pressed = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.call("/actions", {"actions": [{"type": "key", "id": "keys", "actions": pressed}]})
        self.wait_until_still()

    def wait_until_still(self) -> None:
        """Wait until the next picture is painted."""
        self.call(
            "/execute/async",
            {"script": "const [done] = arguments; requestAnimationFrame(() => setTimeout(done, 0));", "args": []},
        )

    def log(self, kind: str) -> list[Any]:
        found: list[Any] = self.call("/se/log", {"type": kind})
        return found

    def close(self) -> None:
        try:
            self.call("", method="DELETE")
        finally:
            self.driver.terminate()
            self.driver.wait(10)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    try:
        yield browser
    finally:
        browser.close()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Any]:
    """Opens the page of a target; afterwards nothing may have been said on the console or asked from the network."""

    def open_page(target: Any, **options: Any) -> Browser:
        browser.open(viz.to_html(target, tmp_path / "page.html", **options))
        return browser

    browser.log("performance")
    yield open_page
    assert [entry["message"] for entry in browser.log("browser")] == []
    sent = [json.loads(entry["message"])["message"] for entry in browser.log("performance")]
    asked = [m["params"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    page = (tmp_path / "page.html").as_uri()
    assert {request["request"]["url"] for request in asked if request["documentURL"] == page} == {page}


def net(steps: int, cell: Any = None, impl: str = "unrolled") -> Any:
    tg.seed(1)
    x = np.random.default_rng(0).standard_normal((2, steps, 3)).astype(np.float32)
    outputs, _ = rnn.dynamic_rnn(cell or rnn.BasicRNNCell(4), x, impl=impl)
    return (outputs[:, -1] ** 2).mean()


def reach(graph: Any, start: int, forward: bool) -> set[int]:
    """Ids of all that a node depends on, or that depends on it."""
    near: dict[int, list[int]] = {node.id: [] for node in graph.nodes}
    for node in graph.nodes:
        for source in node.sources:
            near[source.id if forward else node.id].append(node.id if forward else source.id)
    work, seen = [start], set()
    while work:
        for other in near[work.pop()]:
            if other not in seen:
                seen.add(other)
                work.append(other)
    return seen


def marked(browser: Browser, mark: str) -> set[int]:
    """Ids of the nodes in the document that carry a mark."""
    found = browser.js(f"return [...document.querySelectorAll('.node.{mark}')].map((g) => g.dataset.id)")
    return {int(id[1:]) for id in found}


def drawn(browser: Browser) -> set[int]:
    return {int(i[1:]) for i in browser.js("return [...document.querySelectorAll('.node')].map((g) => g.dataset.id)")}


def test_pointing_at_a_node_tells_shape_and_value(show: Any) -> None:
    x = tg.tensor([[1.0, -2.0]], requires_grad=True, name="x", dtype=np.float64)
    w = tg.Parameter(np.array([[0.5], [0.25]]), name="w")
    browser = show(tg.tanh(x @ w))
    assert browser.js("return document.getElementById('tip').hidden")
    browser.point("[data-id=n1]")
    assert browser.js("return document.getElementById('tip').hidden") is False
    tip = browser.js("return document.getElementById('tip').innerText").split("\n")
    assert {"shape", "(2, 1) float64", "value", "0.25 … 0.5, mean 0.375", "0.5, 0.25", "bytes", "16"} <= set(tip)
    browser.point("header")
    assert browser.js("return document.getElementById('tip').hidden")


def test_clicking_a_node_marks_exactly_what_it_depends_on_and_what_depends_on_it(show: Any) -> None:
    loss = net(3)
    graph = tg.snapshot(loss)
    browser = show(loss)
    browser.keys("0")
    for _ in range(100):  # the picture moves to its place
        if len(drawn(browser)) == len(graph.nodes):
            break
        time.sleep(0.05)
    assert drawn(browser) == {node.id for node in graph.nodes}
    for node in graph.nodes:
        browser.point(f"[data-id=n{node.id}]", clicks=1)
        assert marked(browser, "picked") == {node.id}
        assert marked(browser, "before") == reach(graph, node.id, False)
        assert marked(browser, "after") == reach(graph, node.id, True)
    browser.keys("\ue00c")  # Escape
    assert not marked(browser, "picked") | marked(browser, "before") | marked(browser, "after")


def test_lines_of_a_trace_are_marked_and_no_others(show: Any) -> None:
    """Every line that leads to the picked node is marked, from end to end; a line beside the trace is not."""
    loss = net(3)
    graph = tg.snapshot(loss)
    browser = show(loss)
    node = next(n for n in graph.nodes if n.op == "tanh" and "t=1" in n.scope)
    browser.js("page.pick(page.model.nodes[arguments[0]])", node.id)
    routes = browser.js(
        "const marks = page.painter.marks.segments;"
        "return page.model.shownEdges().map((edge) => [edge.tail.index, edge.head.index,"
        " page.route(edge).map(([box, i]) => (marks.get(box) || new Map()).get(i) || '')])"
    )
    before = reach(graph, node.id, False) | {node.id}
    after = reach(graph, node.id, True) | {node.id}
    for tail, head, marks in routes:
        if head in before:
            assert set(marks) == {"before"}
        elif tail in after:
            assert set(marks) == {"after"}
        else:
            assert "" in marks  # of a line that is shared, the part that is the edge's own


def test_closing_a_box_hides_its_nodes_and_keeps_its_edges(show: Any) -> None:
    loss = net(3)
    graph = tg.snapshot(loss)
    browser = show(loss)
    browser.keys("0")
    box = browser.js("return page.model.boxes.find((box) => box.label === 't=1').id")
    inside = {node.id for node in graph.nodes if "t=1" in node.scope and node.op is not None}
    readers: dict[int, set[int]] = {}
    for node in graph.nodes:
        for source in node.sources:
            readers.setdefault(source.id, set()).add(node.id)
    inside |= {node.id for node in graph.nodes if node.op is None and readers[node.id] <= inside}  # x_1
    assert len(inside) > 2
    browser.click(f".title[data-id={box}]")
    browser.keys("0")
    assert drawn(browser) == {node.id for node in graph.nodes} - inside
    name = {node.id: box if node.id in inside else f"n{node.id}" for node in graph.nodes}
    wanted = {(name[s.id], name[node.id]) for node in graph.nodes for s in node.sources} - {(box, box)}
    edges = "return page.model.shownEdges().map((edge) => [edge.tail.id, edge.head.id])"
    assert sorted(map(tuple, browser.js(edges))) == sorted(wanted)
    browser.point(f".closed[data-id={box}]", clicks=1)  # a closed box is traced as a whole
    before = set().union(*(reach(graph, i, False) for i in inside)) - inside
    assert marked(browser, "before") == before
    browser.click(f".knob[data-id={box}]")
    browser.keys("0")
    assert drawn(browser) == {node.id for node in graph.nodes}


def test_a_double_click_opens_and_closes(show: Any) -> None:
    browser = show(net(3))
    browser.click("#close-all")
    assert drawn(browser)
    assert all(browser.js("return page.model.boxes.map((box) => !box.open)"))
    closed = browser.js("return document.querySelectorAll('.closed').length")
    assert closed >= 1
    browser.point(".closed", clicks=2)
    assert browser.js("return page.model.boxes.filter((box) => box.open).length") == 1
    browser.click("#open-all")
    assert all(browser.js("return page.model.boxes.map((box) => box.open)"))


def check_places(browser: Browser) -> None:
    """No two things in one box overlap, all lie within their box, and every edge runs unbroken from border to border."""
    places = browser.js(
        "const rects = page.layout.rects, found = [], items = [page.model.root];"
        "for (const item of items) {"
        "  if (item.kind === 'box' && item.open) items.push(...item.items);"
        "  const r = rects.get(item); found.push([item.id, item.parent ? item.parent.id : null, r.x, r.y, r.w, r.h]); }"
        "return found"
    )
    rects = {id: (x, y, x + w, y + h) for id, _, x, y, w, h in places}
    siblings: dict[str, list[str]] = {}
    for id, parent, *_ in places:
        if parent is not None:
            siblings.setdefault(parent, []).append(id)
            a, b = rects[id], rects[parent]
            assert min(a[0] - b[0], a[1] - b[1], b[2] - a[2], b[3] - a[3]) > -0.1, f"{id} leaves {parent}"
    for ids in siblings.values():
        for i, p in enumerate(ids):
            for q in ids[i + 1 :]:
                a, b = rects[p], rects[q]
                apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
                assert apart, f"{p} and {q} overlap"
    routes = browser.js(
        "return page.model.shownEdges().map((edge) => [edge.tail.id, edge.head.id, page.route(edge).map(([box, i]) => {"
        "  const part = page.layout.parts.get(box); return [part.x, part.y, part.segments[i].d]; })])"
    )
    assert routes
    for tail, head, pieces in routes:
        end = None
        for x, y, d in pieces:
            numbers = [float(n) for n in re.findall(r"-?\d+(?:\.\d+)?", d)]
            begin = (x + numbers[0], y + numbers[1])
            if end is None:
                assert abs(begin[0] - rects[tail][2]) < 0.3
                assert rects[tail][1] <= begin[1] <= rects[tail][3]
            else:
                assert np.hypot(begin[0] - end[0], begin[1] - end[1]) < 0.3, f"{tail} to {head} is broken"
            flat = re.search(r"H(-?[\d.]+)$", d)
            curve = re.search(r"C[^H]* (-?[\d.]+) (-?[\d.]+)(?:H|$)", d)
            height = float(curve[2]) if curve else numbers[1]
            end = (x + (float(flat[1]) if flat else float(curve[1]) if curve else 0.0), y + height)
        assert end is not None
        assert abs(end[0] - rects[head][0]) < 0.3
        assert rects[head][1] <= end[1] <= rects[head][3]


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "stacked", "bidirectional", "attention"])
def test_nothing_overlaps_and_no_edge_is_broken(show: Any, name: str) -> None:
    browser = show(NETS[name]())
    browser.click("#open-all")
    check_places(browser)
    browser.js("page.model.boxes.forEach((box, i) => { if (i % 3 === 1) box.open = false; }); page.lay()")
    check_places(browser)
    browser.click("#close-all")
    check_places(browser)


def bidirectional() -> Any:
    tg.seed(0)
    x = np.random.default_rng(0).standard_normal((2, 3, 3)).astype(np.float32)
    (fw, bw), _ = rnn.bidirectional_dynamic_rnn(rnn.LSTMCell(4), rnn.LSTMCell(4), x)
    return (tg.concatenate([fw, bw], axis=2) ** 2).mean()


def attention() -> Any:
    """An encoder, and a decoder in a loop of its own that looks back at it."""
    tg.seed(0)
    x = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    encoded, h = rnn.dynamic_rnn(rnn.GRUCell(4), x)
    cell, outputs = rnn.GRUCell(4), []
    for t in range(3):
        with tg.step(t):
            with tg.scope("attention"):
                weights = tg.softmax((encoded * h.reshape(2, 1, 4)).sum(axis=2), axis=1)
                context = (encoded * weights.reshape(2, 4, 1)).sum(axis=1)
            output, h = cell(context, h)
        outputs.append(output)
    return (tg.stack(outputs) ** 2).mean()


NETS = {
    "rnn": lambda: net(4),
    "lstm": lambda: net(3, rnn.LSTMCell(4)),
    "gru": lambda: net(3, rnn.GRUCell(4), "fused"),
    "stacked": lambda: net(3, rnn.MultiRNNCell([rnn.LSTMCell(4), rnn.GRUCell(4)])),
    "bidirectional": bidirectional,
    "attention": attention,
}


def test_the_slider_goes_through_time(show: Any) -> None:
    browser = show(net(40, rnn.LSTMCell(4)))  # long: its steps are closed at first
    step = "return document.getElementById('step').textContent.split(' ')[0]"
    now = "return [...document.querySelectorAll('.now')].map((g) => page.byId(g.dataset.id).label)"
    assert browser.js(step) == "t=0"
    browser.js("document.getElementById('slider').focus()")
    browser.keys("\ue014\ue014")  # the right arrow key, on the slider
    assert (browser.js(step), browser.js(now)) == ("t=2", ["t=2"])
    browser.js("document.activeElement.blur()")
    browser.keys("\ue014\ue014\ue012")  # right, right, left: anywhere on the page
    assert (browser.js(step), browser.js(now)) == ("t=3", ["t=3"])
    opened = "return page.model.boxes.filter((box) => box.step >= 0 && box.open).map((box) => box.label)"
    assert browser.js(opened) == ["t=0", "t=3"]  # the current step is open, those passed are closed again
    assert browser.js("return page.isInView(page.model.steps[3].boxes[0])")
    values = browser.js("return document.getElementById('step-values').innerText")
    assert "After step t=3" in values
    assert "gradient" in values
    browser.keys("\ue012" * 9)
    assert browser.js(step) == "t=0"


def test_keys_zoom_and_the_pointer_moves_the_page(show: Any) -> None:
    browser = show(net(3))
    zoom = "return page.painter.view.zoom"
    browser.keys("0")
    fitted = browser.js(zoom)
    browser.keys("++")
    assert browser.js(zoom) == pytest.approx(fitted * 1.25**2)
    browser.keys("-")
    assert browser.js(zoom) == pytest.approx(fitted * 1.25**2 * 0.8)
    before = browser.js("return [page.painter.view.x, page.painter.view.y]")
    moves = [
        {"type": "pointerMove", "duration": 0, "x": 300, "y": 120},
        {"type": "pointerDown", "button": 0},
        {"type": "pointerMove", "duration": 0, "x": 350, "y": 150},
        {"type": "pointerUp", "button": 0},
    ]
    browser.call("/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": moves}]})
    browser.wait_until_still()
    assert browser.js("return [page.painter.view.x, page.painter.view.y]") == [before[0] + 50, before[1] + 30]
    browser.js(
        "document.getElementById('canvas').dispatchEvent(new WheelEvent('wheel', {deltaY: -300, clientX: 400, clientY: 300}))"
    )
    assert browser.js(zoom) == pytest.approx(fitted * 1.25**2 * 0.8 * 2)
    browser.keys("0")
    assert browser.js(zoom) == fitted


def test_names_are_shown_as_written(show: Any) -> None:
    name = '<b>"x\n|{}한글</script><script>broken=1</script>&lt;'
    w = tg.Parameter(np.ones((2, 2)), name=name)
    with tg.scope("</script><i>범위"):
        y = tg.tanh(w)
    browser = show(y, title=name)
    assert browser.js("return document.querySelector('[data-id=n0] text').textContent") == name.replace("\n", "\\n")
    assert browser.js("return document.querySelector('.title').textContent") == "− </script><i>범위"
    assert browser.js("return document.title") == name.replace("\n", " ")
    assert browser.js("return typeof broken") == "undefined"
    browser.point("[data-id=n0]", clicks=1)
    assert name.replace("\n", "\\n") in browser.js("return document.getElementById('selected').textContent")
    assert browser.js("return document.querySelectorAll('b, i').length") == 0


def test_the_search_finds_names_and_opens_what_they_are_in(show: Any) -> None:
    browser = show(net(3, rnn.LSTMCell(4)))
    browser.click("#close-all")
    browser.click("#search")
    browser.keys("TANH")
    assert browser.js("return document.getElementById('hits').textContent").startswith("6 nodes")
    browser.keys("\ue007")  # Enter
    assert browser.js("return page.painter.marks.picked.lines[0]") == "tanh"
    assert len(marked(browser, "picked")) == 1
    browser.keys("\ue00c")
    assert browser.js("return document.getElementById('search').value") == ""


def test_dark_and_light_pages(show: Any) -> None:
    browser = show(net(3))
    colour = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    seen = []
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.call("/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": media})
        seen.append([browser.js(colour, "body", "backgroundColor"), browser.js(colour, ".seg.data", "stroke")])
    browser.call("/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {"features": []}})
    assert seen == [["rgb(255, 255, 255)", "rgb(68, 68, 68)"], ["rgb(22, 25, 28)", "rgb(187, 187, 187)"]]


def test_drawings_with_places_keep_them(show: Any) -> None:
    drawing = viz.unrolled(rnn.LSTMCell(4), steps=3)
    browser = show(drawing)
    wanted = {node.id: node.at for node in drawing.picture.nodes}
    rects = browser.js(
        "return page.model.nodes.map((n) => { const r = page.layout.rects.get(n); return [r.x + r.w / 2, -r.y - r.h / 2]; })"
    )
    np.testing.assert_allclose(rects, list(wanted.values()), atol=0.06)
    paths = browser.js("return document.querySelectorAll('#edges path').length")
    assert paths == len(drawing.picture.edges)
    browser.click(".box .title")
    assert browser.js("return document.querySelectorAll('.closed').length") == 1
    inside = sum(node.box == drawing.picture.boxes[0].id for node in drawing.picture.nodes)
    assert browser.js("return document.querySelectorAll('.node').length") == len(drawing.picture.nodes) - inside


def test_a_thousand_steps_open_quickly_and_hold_few_elements(show: Any) -> None:
    loss = net(1000, rnn.LSTMCell(4), "fused")
    browser = show(loss)
    took = browser.js("const t = performance.timing; return t.loadEventEnd - t.navigationStart")
    assert took < 10_000  # 0.6 s on a quiet machine
    count = "return document.querySelectorAll('*').length"
    assert browser.js(count) < 4000
    browser.js("page.go(500)")
    browser.wait_until_still()
    assert browser.js("return [...document.querySelectorAll('.now')].map((g) => page.byId(g.dataset.id).label)") == [
        "t=500"
    ]
    browser.js("page.model.setAll(true); page.lay(); page.fit()")
    browser.wait_until_still()
    assert browser.js(count) < 8000
    graph = tg.snapshot(loss, unfused=True)
    node = next(n for n in graph.nodes if n.op == "tanh" and "t=500" in n.scope)
    name = [part for part in node.scope if part]
    trace = browser.js(
        "const node = page.model.nodes.find((n) => n.lines[0] === 'tanh' && n.rows.some(([, v]) => v === arguments[0]));"
        "const t = page.model.trace(node); return [t.before.size, t.after.size]",
        "/".join(name),
    )
    assert trace == [len(reach(graph, node.id, False)), len(reach(graph, node.id, True))]


def test_a_page_inside_another_document_moves_into_a_frame(browser: Browser, tmp_path: Path) -> None:
    """As notebooks do it: the text becomes the inside of a cell, twice, and its scripts are made anew so that they run."""
    (tmp_path / "notebook.html").write_text("<title>mine</title><h1>Heading</h1><div></div><div></div>")
    browser.open(tmp_path / "notebook.html")
    browser.log("browser")
    looks = "const s = getComputedStyle(document.querySelector('h1')); return [s.fontSize, s.maxWidth, s.color, document.title]"
    before = browser.js(looks)
    browser.js(
        """for (const cell of document.querySelectorAll("div")) {
          cell.innerHTML = arguments[0];
          for (const old of cell.querySelectorAll("script")) {
            const script = document.createElement("script");
            for (const { name, value } of old.attributes) script.setAttribute(name, value);
            script.textContent = old.textContent;
            old.replaceWith(script);
          }
        }""",
        viz.to_html(net(2)),
    )
    browser.wait_until_still()
    assert browser.js(looks) == before
    assert browser.js(
        "return [...document.querySelectorAll('div')].map((d) => [...d.children].map((c) => c.tagName))"
    ) == [
        ["IFRAME"],
        ["IFRAME"],
    ]
    frames = "[...document.querySelectorAll('iframe')]"
    drawn_inside = f"return {frames}.every((f) => f.contentDocument.querySelectorAll('.node').length)"
    for _ in range(100):
        if browser.js(drawn_inside):
            break
        time.sleep(0.05)
    assert browser.js(drawn_inside)
    messages = [entry["message"] for entry in browser.log("browser")]
    assert [m for m in messages if "outside the document's <head>" not in m] == []  # the policy holds in the frame


@pytest.mark.parametrize("cell", [rnn.LSTMCell, rnn.GRUCell, rnn.BasicRNNCell])
def test_the_page_of_a_long_net_opens_with_its_first_step_in_view(show: Any, cell: Any) -> None:
    browser = show(net(50, cell(4)))
    assert browser.js(
        "return page.painter.view.zoom <= 1 && page.model.steps[0].boxes.every((box) => page.isInView(box))"
    )
    assert browser.js("return page.isInView(page.model.nodes.find((node) => node.role === 'parameter'))")
