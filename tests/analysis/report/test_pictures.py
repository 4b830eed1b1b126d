from xml.etree import ElementTree

import pandas as pd

from strathack.analysis import plots
from strathack.analysis.report.pictures import svg


def drawn():
    return plots.draw_shares(pd.DataFrame({"explore": [3, 1], "fight": [1, 1]}, index=["Val", "Sam"]), "role")


def test_a_picture_takes_the_colour_of_the_page_and_is_always_the_same():
    text = svg(drawn, "Shares & <more>")
    assert text == svg(drawn, "Shares & <more>")
    root = ElementTree.fromstring(text.replace("&lt;", "").replace("&gt;", ""))
    assert root.get("role") == "img"
    assert "height" not in root.attrib
    assert "Shares &amp; &lt;more&gt;" in text
    assert "currentColor" in text
    figure = next(element for element in root.iter() if element.get("id") == "patch_1")
    assert [element.get("style") for element in figure] == ["fill: none"]
    ticks = [element for element in root.iter() if (element.text or "").strip() in ("Val", "Sam")]
    assert len(ticks) == 2
    assert all("currentColor" in element.get("style", "") for element in ticks)
