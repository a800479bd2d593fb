# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What a request says is never run as code and leads to no other place on the server.

The texts below, where they are run, leave a file in the folder that the server was started in.
"""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile

import nibabel
import numpy as np
import pytest

from tests.monailabel.phantom import AFFINE, NAMES, SHAPE, make_case, mask_of, slice_boxes, slicer_markups

pytest.importorskip("monailabel", reason="needs an environment with MONAI Label: tests/monailabel/run")

import requests

from tests.monailabel.server import running_server, sample_app

CODE_AS_NAME = "$open('ran_name','w')"  # a file of this name, and so the id of its image
NIFTI = {"result_extension": ".nii.gz"}


def code(place, value="'cpu'"):
    """A text that is Python code: where it is executed, it records that and returns a valid value."""
    return f"$open('ran_{place}', 'w') and {value}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("requests")


@pytest.fixture(scope="module")
def studies(folder):
    (folder / "studies").mkdir()
    for number, name in enumerate((*NAMES[:3], CODE_AS_NAME)):
        nibabel.save(nibabel.Nifti1Image(make_case(number)[0], AFFINE), folder / "studies" / f"{name}.nii.gz")
    return folder / "studies"


@pytest.fixture(scope="module")
def server(folder, studies, request):
    shutil.copytree(sample_app("boxes"), folder / "boxes")
    shutil.copytree(request.config.rootpath / "bundle" / "models", folder / "boxes" / "bundle" / "models")
    sessions = str(folder / "sessions")
    with running_server(folder / "boxes", studies, MONAI_LABEL_SESSION_PATH=sessions) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_was_run(folder):
    yield
    ran = list(folder.rglob("ran_*"))
    for path in ran:  # for the tests that follow
        path.rename(path.with_name(f"seen_{path.name}"))
    assert not ran


def train_now(server, **params):
    """Train within the request, so that its answer is the training's."""
    return server.call("POST", "/train/segmentation?run_sync=true", json={"device": "cpu", "max_epochs": 1, **params})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"device": code("device")}, "device: expected one of .*'cpu'.*got"),
        ({"device": [code("device")]}, "device: expected one of"),
        ({"device": "cpu\n"}, "device: expected one of"),
        ({"max_epochs": code("epochs", "1")}, "max_epochs: expected a whole number from 1 to"),
        ({"max_epochs": 0}, "max_epochs: expected a whole number from 1 to .*got 0"),
        ({"max_epochs": True}, "max_epochs: expected a whole number"),
        ({"max_epochs": {"_target_": "builtins.open", "file": "ran_target", "mode": "w"}}, "max_epochs: expected"),
        ({"val_split": code("split", "0.2")}, "val_split: expected a number from -1 to below 1"),
        ({"val_split": 1}, "val_split: expected a number"),
        ({"pretrained": code("pretrained", "True")}, "pretrained: expected true or false"),
        ({"train#trainer#max_epochs": code("key", "1")}, "expected some of .*'max_epochs'.*got 'train#trainer"),
        ({"max_epoch": 3}, "did you mean 'max_epochs'.*got 'max_epoch'"),
    ],
)
def test_a_training_takes_no_code(server, params, message):
    with pytest.raises(RuntimeError, match=rf"(?s)^400: .*{message}"):
        train_now(server, **params)


def test_a_training_that_was_refused_logs_the_reason(server):
    status, details = server.train(device=code("device"))
    assert status == "ERROR"
    assert "device: expected one of" in details


def test_names_and_texts_of_the_data_are_not_run_and_sound_requests_train(server):
    for name, image in zip(NAMES, (*NAMES[:3], CODE_AS_NAME)):
        markups = slicer_markups(slice_boxes(mask_of(name)))
        markups["markups"][0] |= {"description": code("description")}
        params = {code("param"): code("param"), "label_info": [{"name": code("info")}]}
        server.save_label(image, "boxes", "boxes.mrk.json", json.dumps(markups), **params)
    for name, text in zip(NAMES, (code("patient"), "@network", "%train")):
        info = {"patient": text, "box_iou": code("score")}
        server.call("PUT", f"/datastore/image/info?image={name}", data={"info": json.dumps(info)})
    # What 3D Slicer sends, from what MONAI Label's own trainings offer.
    sent = {"pretrained": True, "max_epochs": "1", "val_split": 0.2, "multi_gpu": True, "gpus": "all", "run_id": ""}
    sent |= {"tracking": "mlflow", "tracking_uri": code("uri"), "tracking_experiment_name": code("experiment")}
    status, details = server.train(**sent, model_filename="model.pt")
    assert status == "DONE", details
    assert server.told("that this training does not use: multi_gpu")
    server.call("POST", "/activelearning/box_iou", json={"label_tag": code("tag"), "labels": [code("labels")]})


def test_a_class_in_a_label_is_a_name_and_no_code(server):
    box = {"box": slice_boxes(mask_of("a")), "label": [code("class", "0")] * len(slice_boxes(mask_of("a")))}
    server.save_label("a", "boxes", "boxes.json", json.dumps(box))
    status, details = server.train(max_epochs=1)
    assert status == "ERROR"
    assert "without classes a label must be a 0-based channel" in details.splitlines()[-1]


def test_clients_are_offered_what_a_training_uses(server):
    (trainer,) = server.get("/info/")["trainers"].values()
    assert set(trainer["config"]) == {"device", "pretrained", "max_epochs", "val_split"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"device": code("device")}, "device: expected one of"),
        ({"device": "cuda:0; import os"}, "device: expected one of"),
        ({"result_extension": "/../../ran_extension.nii"}, "result_extension: expected one of"),
        ({"result_dtype": code("dtype", "'uint8'")}, "result_dtype: expected one of"),
        ({"logging": code("logging", "'INFO'")}, "logging: expected one of"),
        ({"save_label": True, "label_tag": "../../ran_tag"}, "label_tag: expected a plain name"),
        ({"roi": [code("roi", "1"), 2, 3, 4, 5, 6]}, "roi: expected a list of numbers"),
        ({"roi": code("roi", "[1, 2, 3, 4, 5, 6]")}, "roi: expected a list of at most 6 numbers"),
    ],
)
@pytest.mark.parametrize("model", ["segmentation", "box_prompt"])
def test_a_prediction_takes_no_code(server, tmp_path, model, params, message):
    with pytest.raises(RuntimeError, match=f"^400: .*{message}"):
        server.infer(model, "a", tmp_path, **params)


def test_what_clients_send_along_does_not_matter(server, tmp_path):
    # OHIF's parameters, and some that MONAI Label or the configuration would know.
    sent = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": False, "largest_cc": False}
    sent |= {"label_info": [{"name": "object"}], "restore_label_idx": False, "client_id": code("client")}
    sent |= {"model_filename": code("file"), "threshold": code("threshold"), "bundle_root": code("root"), "roi": []}
    answer = server.call("POST", "/infer/segmentation?image=a&output=image", data={"params": json.dumps(sent)})
    assert answer.content.startswith(b"NRRD")
    assert server.infer("segmentation", CODE_AS_NAME, tmp_path, **NIFTI).shape == SHAPE


def test_a_batch_takes_no_code(server):
    params = {"device": code("device"), "multi_gpu": False, "label_tag": "batch", "max_workers": 1}
    with pytest.raises(RuntimeError, match="^400: .*device: expected one of"):
        server.call("POST", "/batch/infer/segmentation?images=all&run_sync=true", json=params | {"max_batch_size": 1})
    answer = server.call("POST", "/batch/infer/segmentation?images=all&run_sync=true", json=params | {"device": "cpu"})
    assert set(answer.json()) == {*NAMES[:3], CODE_AS_NAME}


def test_only_images_of_the_datastore_and_uploads_are_read(server, tmp_path):
    elsewhere = tmp_path / "ran_elsewhere.nii.gz"
    nibabel.save(nibabel.Nifti1Image(make_case(4)[0], AFFINE), elsewhere)
    for path in (elsewhere, "/etc/passwd"):
        with pytest.raises(RuntimeError, match="^400: .*image: expected an id of the datastore or an upload"):
            server.infer("segmentation", path, tmp_path)
        with pytest.raises(RuntimeError, match="^400: .*image: expected an id of the datastore or an upload"):
            server.call("POST", "/infer/segmentation?image=a", data={"params": json.dumps({"image": str(path)})})
    with pytest.raises(RuntimeError, match="^400: .*image: expected a text"):
        server.call("POST", "/infer/segmentation?image=a", data={"params": json.dumps({"image": ["a", "b"]})})
    upload = {"data": {"params": json.dumps(NIFTI)}, "files": {"file": ("e.nii.gz", elsewhere.read_bytes())}}
    answer = server.call("POST", "/infer/segmentation?output=image", **upload)
    assert nibabel.Nifti1Image.from_bytes(gzip.decompress(answer.content)).shape == SHAPE


def test_a_session_is_read_by_its_own_id_alone(server, studies):
    image = (studies / "a.nii.gz").read_bytes()
    session = server.call("PUT", "/session/", files={"files": ("a.nii.gz", image)}).json()["session_id"]
    predict = f"/infer/segmentation?output=image&session_id={session}"
    assert server.call("POST", predict, data={"params": json.dumps(NIFTI)}).content
    # A file that a session brings is no session: it could name any file of the server.
    forged = json.dumps({"path": "/", "image": "/etc/passwd"}).encode()
    files = [("files", ("meta.info", forged)), ("files", ("b.nii.gz", image))]
    other = server.call("PUT", "/session/", files=files).json()["session_info"]
    inner = other["name"] + "/" + other["image"].rsplit("/", 1)[1]
    with pytest.raises(RuntimeError, match="^(400|404)"):
        server.call("POST", f"/infer/segmentation?output=image&session_id={inner}", data={"params": "{}"})


def test_an_archive_that_could_write_anywhere_is_refused(server):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../ran_archive"), io.BytesIO())
    with pytest.raises(RuntimeError, match="^400: .*expected a .zip to uncompress"):
        server.call("PUT", "/session/?uncompress=true", files={"files": ("a.tar", buffer.getvalue())})


@pytest.mark.parametrize(
    ("method", "path", "file"),
    [
        ("PUT", "/datastore/image?image=../boxes/ran_image", {"file": ("x.py", b"")}),
        ("PUT", "/datastore/image?image=/tmp/ran_image", {"file": ("x.py", b"")}),
        ("PUT", "/datastore/label?image=a&tag=../../boxes/ran_tag", {"label": ("x.py", b"")}),
        ("PUT", "/datastore/label?image=../a&tag=final", {"label": ("x.nii.gz", b"")}),
        ("DELETE", "/datastore/image?id=../boxes", None),
        ("DELETE", "/datastore/label?id=a&tag=../..", None),
        ("GET", "/datastore/image?image=../boxes/main.py", None),
        ("GET", "/datastore/label?label=../../main.py&tag=final", None),
    ],
)
def test_images_and_labels_stay_in_their_folders(server, folder, method, path, file):
    before = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    with pytest.raises(RuntimeError, match="^400: .*expected (an id|a plain name)"):
        server.call(method, path, files=file)
    after = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    assert [path for path in after if path not in before] == []


def test_a_folder_of_the_request_is_no_place_for_code(server, studies):
    code_file = b"open('ran_sitecustomize', 'w')"
    server.call("PUT", "/datastore/image?image=sitecustomize", files={"file": ("x.py", code_file)})
    try:
        assert (studies / "sitecustomize.py").exists()
        for model in ("segmentation", "nothing"):
            status, _ = server.train(model, bundle_path=str(studies))
            assert status == "ERROR" or model == "segmentation"
    finally:
        (studies / "sitecustomize.py").unlink()


def test_an_answer_to_a_page_of_another_origin(server):
    """It may read answers: the server allows all origins, as SECURITY.md says."""
    answer = requests.get(server.url + "/info/", headers={"Origin": "http://example.org"}, timeout=60)
    assert answer.headers["access-control-allow-origin"] in ("*", "http://example.org")


def test_a_mask_still_fits_its_image(server, tmp_path):
    found = server.infer("segmentation", "a", tmp_path, **NIFTI)
    assert np.allclose(found.affine, AFFINE, atol=1e-4)
