"""A bundle folder is whole, or is refused before anything of it is used."""

from pathlib import Path

import pytest

from examples.demo import assets
from fleet import build, bundle
from fleet.build import Request
from littoral.canonical import digest
from littoral.errors import BundleError, ManifestError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    demo = assets.ensure()
    (tmp_path / "labels").write_text("\n".join(demo.labels))
    build.build(Request(demo.classifier, "cifar", 1, "v1", tmp_path / "out", labels=tmp_path / "labels"))
    return tmp_path / "out"


def test_a_whole_folder_is_described_with_its_labels(folder: Path) -> None:
    interface, file = bundle.describe(bundle.read(folder))
    assert interface.labels == assets.LABELS
    assert interface.inputs == file.interface.inputs
    assert len(bundle.read(folder).digests()) == 4


def test_a_missing_or_altered_blob_is_found(folder: Path) -> None:
    for path in (folder / "blobs").iterdir():
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BundleError, match="not what its name says"):
            bundle.read(folder)
        path.unlink()
        with pytest.raises(BundleError, match="missing"):
            bundle.read(folder)
        path.write_bytes(whole)
    bundle.read(folder)


def test_a_bundle_json_that_is_absent_or_senseless_is_found(folder: Path) -> None:
    whole = (folder / "bundle.json").read_bytes()
    (folder / "bundle.json").write_bytes(b"{}")
    with pytest.raises(ManifestError):
        bundle.read(folder)
    (folder / "bundle.json").unlink()
    with pytest.raises(BundleError, match="no bundle"):
        bundle.read(folder)
    (folder / "bundle.json").write_bytes(whole.replace(b'"chunk_bytes":61440', b'"chunk_bytes":61439'))
    with pytest.raises(BundleError, match="not cut"):
        bundle.read(folder)
    assert digest(whole)
