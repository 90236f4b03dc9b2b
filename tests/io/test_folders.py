import pytest
from PIL import Image

from lic_jax.cli import main as cli
from lic_jax.errors import LicError
from lic_jax.io.folders import compress_images, stream_paths


@pytest.fixture
def folder(photograph_folder, tmp_path):
    """Three photographs, a file that is none, and a JPEG of whose damage Pillow tells by a struct.error."""
    images = tmp_path / "images"
    images.mkdir()
    for name in ("00", "01", "02"):
        (images / f"{name}.png").write_bytes((photograph_folder / f"{name}.png").read_bytes())
    (images / "01b.png").write_bytes(b"no image")
    exif = Image.Exif()
    exif.update({0x112: 6, 0x11A: 72.0, 0x10E: "text"})
    Image.new("RGB", (16, 16)).save(images / "01c.jpg", exif=exif)
    damaged = bytearray((images / "01c.jpg").read_bytes())
    damaged[41] = 0
    (images / "01c.jpg").write_bytes(damaged)
    return images


def encode(pixels):
    return pixels[0, 0].tobytes()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_image_has_its_stream_and_a_bad_one_is_named(folder, tmp_path):
    outcome = compress_images(encode, stream_paths(folder, tmp_path / "out"))
    assert (outcome.written, outcome.skipped) == (3, 0)
    assert [path.name for path, _ in outcome.failures] == ["01b.png", "01c.jpg"]
    assert all("not a readable image" in reason for _, reason in outcome.failures)
    assert names(tmp_path / "out") == ["00.png.lic", "01.png.lic", "02.png.lic"]
    assert (tmp_path / "out" / "02.png.lic").stat().st_size == 3


def test_a_second_run_encodes_what_is_missing_alone(folder, tmp_path):
    """An interrupted run leaves finished streams and nothing else."""
    seen = []

    def interrupted(pixels):
        seen.append(pixels)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return encode(pixels)

    with pytest.raises(KeyboardInterrupt):
        compress_images(interrupted, stream_paths(folder, tmp_path / "out"))
    assert names(tmp_path / "out") == ["00.png.lic"]
    encoded = []
    outcome = compress_images(
        lambda pixels: encoded.append(1) or encode(pixels), stream_paths(folder, tmp_path / "out")
    )
    assert (outcome.written, outcome.skipped, len(encoded)) == (2, 1, 2)


def test_every_image_is_ticked_off_once(folder, tmp_path):
    compress_images(encode, stream_paths(folder, tmp_path / "out"))
    ticked = []
    (tmp_path / "out" / "02.png.lic").unlink()
    compress_images(encode, stream_paths(folder, tmp_path / "out"), ticked.append)
    assert sorted(ticked) == sorted(stream_paths(folder, tmp_path / "out"))


def test_what_the_codec_refuses_does_not_stop_the_rest(folder, tmp_path):
    def choosy(pixels):
        if not encoded:
            encoded.append(pixels)
            raise LicError("too beautiful")
        return encode(pixels)

    encoded = []
    outcome = compress_images(choosy, stream_paths(folder, tmp_path / "out"))
    assert outcome.written == 2 and outcome.failures[0].reason == "too beautiful"


def test_a_place_that_cannot_be_written_is_refused(folder, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LicError, match="cannot be made"):
        compress_images(encode, stream_paths(folder, tmp_path / "file"))


def test_the_command_says_what_was_left_out_and_exits_with_one(folder, tiny_model_file, tmp_path, capsys):
    command = ["compress-many", str(folder), str(tmp_path / "out"), "--model", str(tiny_model_file)]
    assert cli.main(command) == 1
    output = capsys.readouterr()
    assert "3 streams written, 0 existed" in output.out
    assert "01b.png was left out" in output.err and "Traceback" not in output.err
    (folder / "01b.png").unlink()
    (folder / "01c.jpg").unlink()
    assert cli.main(command) == 0
    assert "0 streams written, 3 existed" in capsys.readouterr().out
    for refused in (("--rate", "9"), ("--rate", "0", "--bpp", "1"), ("--psnr", "-3"), ("--time-limit", "3")):
        assert cli.main([*command, *refused]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert cli.main(["info", str(tmp_path / "out" / "00.png.lic")]) == 0
