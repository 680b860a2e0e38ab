"""Pages of the preview can be read in every scene: nothing clipped, overlapping, unexplained, or too faint."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.support.browser import PreviewPage
from tests.support.page_layout import layout_faults
from tests.support.page_scenes import SCENES, Scene, ServedModels

pytestmark = [pytest.mark.engine, pytest.mark.long]


CHECKED = [scene for scene in SCENES if (scene.models, scene.width) in {("one", 1920), ("twelve", 1280)}]
"""Half of the scenes: the wide screen with little on it, and the narrow one with much."""


@pytest.mark.parametrize("scene", CHECKED, ids=[scene.name for scene in CHECKED])
def test_a_scene_can_be_read(served: dict[str, ServedModels], browser: Browser, scene: Scene) -> None:
    models = served[scene.models]
    screen = PreviewPage(browser, models.server.url)
    scene.open(screen, models)
    assert screen.panels("failed") == []
    assert layout_faults(screen.page) == []
    screen.close()
    assert screen.faults == []
