# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""A round with DICOM images: boxes in, DICOM segmentations out, and the mask in the OHIF viewer.

The tests of this file are one story and run in its order.
"""

from __future__ import annotations

import io
import json
import shutil
import time

import nibabel
import numpy as np
import pytest
from PIL import Image

from tests.monailabel.phantom import NAMES, dice, mask_of, slice_boxes, slicer_markups

pytest.importorskip("monailabel", reason="needs an environment with MONAI Label: tests/monailabel/run")

from tests.monailabel import dicom
from tests.monailabel.server import running_server, sample_app, shrink

LABELS = [{"name": "object"}]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    if dicom.ORTHANC is None or not dicom.DICOMWEB.exists():
        pytest.skip("needs a DICOM store: Debian's orthanc and orthanc-dicomweb")
    cases = {name: number for number, name in enumerate(NAMES) if name in "abce"}
    with dicom.running_orthanc(tmp_path_factory.mktemp("orthanc"), cases) as url:
        yield url


@pytest.fixture(scope="module")
def server(tmp_path_factory, store):
    folder = tmp_path_factory.mktemp("dicom")
    shutil.copytree(sample_app("boxes"), folder / "boxes")
    shrink(folder / "boxes" / "bundle")
    with running_server(
        folder / "boxes",
        store,
        MONAI_LABEL_DICOMWEB_SEARCH_FILTER='{"Modality": "MR"}',
        MONAI_LABEL_DICOMWEB_CACHE_PATH=str(folder / "cache"),
        MONAI_LABEL_DICOMWEB_CACHE_EXPIRY="0",
    ) as running:
        yield running


def test_boxes_train_a_model_and_a_dicom_segmentation_comes_back(server):
    for name in "abc":
        markups = slicer_markups(slice_boxes(mask_of(name)), dicom.AFFINE)
        server.save_label(dicom.uid("series", name), "boxes", f"{name}.mrk.json", json.dumps(markups))
    status, details = server.train()
    assert status == "DONE", details
    params = {"params": json.dumps({"device": "cpu", "label_info": LABELS})}
    image = dicom.uid("series", "e")
    answer = server.call("POST", f"/infer/segmentation?image={image}&output=dicom_seg", data=params)
    data, mask = dicom.segmentation_volume(answer.content)
    assert data.Modality == "SEG"
    assert data.ReferencedSeriesSequence[0].SeriesInstanceUID == image
    assert data.SegmentSequence[0].SegmentLabel == "object"
    assert dice(mask, mask_of("e")) > 0.6


def test_a_corrected_mask_is_kept_as_dicom_and_learned_from(server, store, tmp_path):
    image, path = dicom.uid("series", "a"), tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask_of("a"), dicom.AFFINE), path)
    server.save_label(image, "final", path.name, io.BytesIO(path.read_bytes()), label_info=LABELS)
    assert len(dicom.find_series(store, "SEG")) == 1
    sample = server.call("POST", "/activelearning/box_iou", json={}).json()
    assert sample["id"] in {dicom.uid("series", name) for name in "bce"}
    before = server.model_hash
    status, details = server.train(max_epochs=4)
    assert status == "DONE", details
    assert server.model_hash != before


def test_the_viewer_shows_the_mask(server, tmp_path):
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("needs a browser: Debian's chromium and chromium-driver")
    from selenium import webdriver
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "use-angle=swiftshader"):
        options.add_argument(f"--{option}")
    options.add_argument("--window-size=1400,900")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    wait = WebDriverWait(browser, 180, ignored_exceptions=[StaleElementReferenceException])  # the page redraws itself

    def visible(css):
        return next((e for e in browser.find_elements(By.CSS_SELECTOR, css) if e.is_displayed()), None)

    def find(css):
        return wait.until(lambda _: visible(css))

    def connected(_):
        """Whether the panel has the server's models; a click before the viewports are ready is lost."""
        if run := visible("button[title='Run Segmentation']"):
            return run
        visible(".settingsTable .actionButton").click()
        time.sleep(5)
        return visible("button[title='Run Segmentation']")

    def coloured():
        """Number of pixels of the viewport that are not grey."""
        pixels = np.asarray(Image.open(io.BytesIO(find(".cornerstone-canvas").screenshot_as_png)).convert("RGB"), int)
        return int((np.ptp(pixels, axis=-1) > 40).sum())

    try:
        browser.get(f"{server.url}/ohif/monai-label?StudyInstanceUIDs={dicom.uid('study', 'e')}")
        find(".cornerstone-canvas")
        for notice in browser.find_elements(By.XPATH, "//*[text()='Confirm and Hide']"):
            notice.click()
        field = find("#monailabelServerURL")
        browser.execute_script("arguments[0].value = arguments[1]", field, server.url + "/")
        run = wait.until(connected)
        before = coloured()
        run.click()
        wait.until(lambda _: coloured() > before + 2000)
    finally:
        browser.save_screenshot(str(tmp_path / "ohif.png"))
        browser.quit()
