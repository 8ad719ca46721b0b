import hashlib
import io
import os
import posixpath
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_suite.datasets.prepare.archives import _leaves_folder, read_members, sha256_of
from vision_suite.errors import DataError


def tar(path, *members, mode="w:gz"):
    """Write (name, content or TarInfo type) members; a link's content is its target."""
    with tarfile.open(path, mode) as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content.decode()
                archive.addfile(info)
    return path


def plain(name, content=b"data"):
    return (name, content, tarfile.REGTYPE)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_named_members_of_a_tar_are_read(tmp_path, mode):
    path = tar(
        tmp_path / "a.tgz", ("package", b"", tarfile.DIRTYPE), plain("package/a", b"1"), plain("b", b"2"), mode=mode
    )
    assert read_members(path, ["package/a"]) == {"package/a": b"1"}


def test_named_members_of_a_zip_are_read(tmp_path):
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.mkdir("folder")
        archive.writestr("folder/a", b"1")
        archive.writestr("b", b"2")
    assert read_members(path, ["folder/a", "b"]) == {"folder/a": b"1", "b": b"2"}
    assert not (tmp_path / "folder").exists()


def debian(path, *members):
    """Write a Debian package of these (name, content) files."""
    parts = [b"!<arch>\n"]
    for name, content in members:
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
        parts.append(content + b"\n" * (len(content) % 2))
    path.write_bytes(b"".join(parts))
    return path


def test_named_members_of_a_debian_package_are_read(tmp_path):
    data = tar(tmp_path / "data", plain("./usr/share/a", b"1"), mode="w:xz").read_bytes()
    path = debian(tmp_path / "a.deb", ("debian-binary", b"2.0"), ("control.tar.xz", b"odd"), ("data.tar.xz", data))
    assert read_members(path, ["./usr/share/a"]) == {"./usr/share/a": b"1"}


@pytest.mark.parametrize(
    ("cut", "said"), [(None, "without files"), (30, "a damaged Debian package"), (72, "a Debian package without files")]
)
def test_a_damaged_debian_package_is_one_line(tmp_path, cut, said):
    path = debian(tmp_path / "a.deb", ("debian-binary", b"2.0"), ("control.tar.xz", b"odd"))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match=f"not a readable archive .*{said}"):
        read_members(path, ["a"])


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../outside", "package/../../outside", "C:\\x", "..\\outside", "\\\\host\\x"]
)
def test_a_member_outside_of_the_archive_is_refused_even_if_not_asked_for(tmp_path, name):
    path = tar(tmp_path / "a.tgz", plain("good"), plain(name))
    with pytest.raises(DataError, match="points outside"):
        read_members(path, ["good"])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", b"1")
        archive.writestr(name, b"2")
    with pytest.raises(DataError, match="points outside"):
        read_members(tmp_path / "a.zip", ["good"])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    path = tar(tmp_path / "a.tgz", plain("good"), ("bad", b"/etc/passwd", kind))
    with pytest.raises(DataError, match="'bad' is a link or device"):
        read_members(path, ["good"])


def test_a_link_in_a_zip_is_refused(tmp_path):
    info = zipfile.ZipInfo("bad")
    info.create_system = 3
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("good", b"1")
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="'bad' is a link"):
        read_members(tmp_path / "a.zip", ["good"])


def test_every_truncation_of_a_tar_is_one_line(tmp_path):
    content = os.urandom(3000)  # does not compress, so each cut loses something that is read
    whole = tar(tmp_path / "a.tgz", plain("a", content)).read_bytes()
    for length in range(0, len(whole) - 200, 97):
        cut = tmp_path / "cut.tgz"
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match="not a readable archive") as caught:
            read_members(cut, ["a"])
        assert "\n" not in str(caught.value)


def test_a_damaged_zip_member_is_found(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"x" * 500)
    damaged = bytearray(path.read_bytes())
    damaged[100] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="not a readable archive"):
        read_members(path, ["a"])


def test_missing_and_doubled_members_are_errors(tmp_path):
    path = tar(tmp_path / "a.tgz", plain("a"), plain("a"), plain("b"))
    with pytest.raises(DataError, match=r"no member 'c' \(1 missing\)"):
        read_members(path, ["b", "c"])
    with pytest.raises(DataError, match="'a' is there twice"):
        read_members(path, ["a"])


def test_a_text_file_is_not_an_archive(tmp_path):
    (tmp_path / "a.tgz").write_text("hello")
    with pytest.raises(DataError, match="not a readable archive"):
        read_members(tmp_path / "a.tgz", ["a"])


@given(st.lists(st.sampled_from(["a", "..", ".", "b c", "", "..a", "a.."]), min_size=1, max_size=6).map("/".join))
def test_names_that_pass_stay_inside(name):
    if not _leaves_folder(name):
        joined = posixpath.normpath(posixpath.join("/top/of/all", name))
        assert (joined + "/").startswith("/top/of/all/")


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()
