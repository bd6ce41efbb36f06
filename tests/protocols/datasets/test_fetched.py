import socket
import sys

import pytest

from protocols.datasets.fetched import in_one_line
from protocols.datasets.load import prepare_dataset
from protocols.spec.plugins import DATASETS, dataset_source

DOWNLOADED = ("cifar10", "cifar10-15k", "cifar100", "cifar100-20", "stl10", "svhn", "fashion_mnist", "tiny_imagenet")


@pytest.fixture
def no_internet(monkeypatch):
    def unreachable(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("name", DOWNLOADED)
def test_no_internet_is_one_line(name, tmp_path, no_internet):
    with pytest.raises(OSError, match=f"^cannot download {name}: .*Name or service not known") as caught:
        prepare_dataset(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("name", DOWNLOADED)
def test_broken_torchvision_is_one_line(name, tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.startswith("torchvision")]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(OSError, match=f"^cannot download {name}: .*torchvision"):
        dataset_source(name, tmp_path).download()


@pytest.mark.parametrize("name", ["slimagenet64", "folder:nowhere"])
def test_what_cannot_be_downloaded_says_so(name, tmp_path):
    with pytest.raises(OSError, match=rf"{name}: .* is not there, and cannot be downloaded; "):
        dataset_source(name, tmp_path).download()


def test_an_empty_message_is_replaced_by_the_kind():
    with pytest.raises(OSError, match=r"^it failed: EOFError$"), in_one_line("it failed"):
        raise EOFError


def test_every_checksum_is_an_md5():
    for name in DOWNLOADED[:-1]:
        assert all(len(md5) == 32 for md5 in DATASETS.get(name).files.values())
