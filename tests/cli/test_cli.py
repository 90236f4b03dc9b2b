import dataclasses
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from lic_jax.cli import main as cli
from lic_jax.evaluation.measurement import MeasuredRow
from lic_jax.io import container
from lic_jax.io.images import read_image
from lic_jax.io.tables import read_csv
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import load_bundle


@pytest.fixture(scope="module")
def lic(tiny_model_file):
    """Runs a command on the tiny model: (exit code)."""

    def run(command, *arguments, with_model=True):
        model = ["--model", str(tiny_model_file)] if with_model else []
        return cli.main([command, *map(str, arguments), *model])

    return run


@pytest.fixture
def stream(lic, photograph_folder, tmp_path):
    path = tmp_path / "a.lic"
    assert lic("compress", photograph_folder / "00.png", path) == 0
    return path


def test_compress_and_decompress(lic, stream, photograph_folder, tmp_path, capsys):
    assert lic("decompress", stream, tmp_path / "a.png") == 0
    original = read_image(photograph_folder / "00.png")
    decoded = read_image(tmp_path / "a.png")
    assert decoded.shape == original.shape
    assert np.mean((decoded.astype(float) - original) ** 2) < 300


def test_what_compress_can_do_only_nearly_and_what_not_at_all(lic, photograph_folder, tmp_path, capsys):
    image, out = photograph_folder / "00.png", tmp_path / "a.lic"
    assert lic("compress", image, out, "--bpp", 0.001) == 0
    error = capsys.readouterr().err
    assert error.startswith("lic: 0.001 bpp is outside of this image's range") and error.count("\n") == 1
    out.unlink()
    assert lic("compress", image, out, "--psnr", 37, "--rate", 1, "--max-bytes", 1000) == 2
    error = capsys.readouterr().err
    assert "rate and psnr and max_bytes are given" in error and error.count("\n") == 1 and not out.exists()


def test_compress_searches_for_as_long_as_asked(lic, stream, photograph_folder, tmp_path, capsys):
    image = photograph_folder / "00.png"
    assert lic("compress", image, tmp_path / "b.lic", "--iterations", 2, "--method", "rounding") == 0
    assert container.unpack((tmp_path / "b.lic").read_bytes()).rate_units == 256
    assert "interrupted" not in capsys.readouterr().out
    for arguments, message in (
        (("--iterations", "-1"), "iterations is -1"),
        (("--time-limit", "5"), "give --iterations"),
        (("--iterations", "1", "--time-limit", "-5"), "time limit is -5 seconds"),
    ):
        assert lic("compress", image, tmp_path / "c.lic", *arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not (tmp_path / "c.lic").exists()


def test_ctrl_c_ends_a_search_with_the_best_so_far_and_says_so(lic, photograph_folder, tmp_path, capsys, monkeypatch):
    from lic_jax.cli import sender

    report, handler = sender.SearchProgress.report, signal.getsignal(signal.SIGINT)

    def interrupted_at_two(self, progress):
        if progress.step == 2 and not self.interrupted:
            signal.raise_signal(signal.SIGINT)
        return report(self, progress)

    monkeypatch.setattr(sender.SearchProgress, "report", interrupted_at_two)
    out = tmp_path / "b.lic"
    assert lic("compress", photograph_folder / "00.png", out, "--iterations", 50, "--method", "rounding") == 0
    assert "interrupted at iteration 2: the best so far" in capsys.readouterr().out
    assert container.unpack(out.read_bytes()).width == 128
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_on_the_way_to_a_quality_names_the_step_of_the_interruption(
    lic, photograph_folder, tmp_path, capsys, monkeypatch
):
    from lic_jax.cli import sender

    report, reported = sender.SearchProgress.report, []

    def interrupted_at_two(self, progress):
        reported.append(progress.step)
        if progress.step == 2 and not self.interrupted:
            signal.raise_signal(signal.SIGINT)
        return report(self, progress)

    monkeypatch.setattr(sender.SearchProgress, "report", interrupted_at_two)
    search = ("--psnr", 25, "--iterations", 50, "--method", "rounding")
    assert lic("compress", photograph_folder / "00.png", tmp_path / "b.lic", *search) == 0
    assert "interrupted at iteration 2: the best so far" in capsys.readouterr().out
    assert max(reported) == 3  # the third pass is done before the second is reported: it tells what that one costs


def test_nothing_is_searched_for_a_place_that_cannot_be_written_to(
    lic, photograph_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("lic_jax.codec.codec.load", lambda *_: pytest.fail("searched"))
    image = photograph_folder / "00.png"
    (tmp_path / "folder.lic").mkdir()
    for out in (tmp_path / "none" / "b.lic", tmp_path / "folder.lic"):
        assert lic("compress", image, out, "--iterations", 3) == 2
        assert "cannot be written" in capsys.readouterr().err
    (tmp_path / "file").write_bytes(b"")
    assert lic("evaluate", photograph_folder, "--csv", tmp_path / "file" / "rows.csv") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.lic"]


def test_info_tells_what_the_stream_holds(lic, stream, capsys):
    capsys.readouterr()
    assert lic("info", stream, "--json", with_model=False) == 0
    facts = json.loads(capsys.readouterr().out)
    data = stream.read_bytes()
    assert (facts["height"], facts["width"], facts["rate"]) == (96, 128, 1.0)
    assert facts["bytes"] == len(data) == sum(facts["segments"].values())
    assert facts["bpp"] == pytest.approx(8 * len(data) / (96 * 128))
    assert (facts["fingerprint"], facts["coder"]) == (data[5:9].hex(), "constriction")
    assert lic("info", stream, with_model=False) == 0
    assert "128×96 pixels" in capsys.readouterr().out


def test_a_receiver_loads_no_framework(stream, tiny_model_file, tmp_path):
    code = (
        "import sys; from lic_jax.cli.main import main; stream, model, out = sys.argv[1:];"
        "codes = [main(['info', stream]), main(['decompress', stream, out + '.png', '--model', model]),"
        " main(['transcode', stream, out + '.lic', '--coder', 'constriction', '--model', model])];"
        "print(codes, sorted({'jax', 'flax', 'optax', 'grain', 'orbax', 'matplotlib'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, *map(str, (stream, tiny_model_file, tmp_path / "out"))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 0] []"


def damage(data, how):
    header = bytearray(data)
    if how == "truncated":
        return data[:-5]
    if how == "cut in the header":
        return data[:20]
    if how == "prolonged":
        return data + b"0"
    if how == "empty":
        return b""
    if how == "not a stream":
        return b"\x89PNG" + data
    if how == "damaged header":
        header[13] ^= 1
    if how == "damaged hyper latent":
        header[container.HEADER_BYTES] ^= 1
    if how == "damaged latent":
        header[-1] ^= 1
    if how == "other version":
        header[3] = 9
    if how == "other coder":
        header[4] = 9
    if how == "other model":
        stream = container.unpack(data)
        return container.pack(container.Stream(b"abcd", *(getattr(stream, n) for n in FIELDS)))
    if how == "no height":
        header[9:11] = b"\0\0"
    if how == "absurd size":
        header[9:13] = b"\xff\xff\xff\xff"
    return bytes(header)


FIELDS = ("height", "width", "rate_units", "hyper_latent", "latent")
MESSAGES = {
    "truncated": "truncated",
    "cut in the header": "truncated",
    "prolonged": "ends at byte",
    "empty": "is empty",
    "not a stream": "not a lic stream",
    "damaged header": "damaged",
    "damaged hyper latent": "hyper latent segment is damaged",
    "damaged latent": "latent segment is damaged",
    "other version": "version 9",
    "other coder": "coder 9",
    "other model": "made by model 61626364",
    "no height": "image size",
    "absurd size": "65535×65535",
}


@pytest.mark.parametrize("how", MESSAGES)
def test_every_bad_stream_has_its_error(lic, stream, tmp_path, capsys, how):
    bad, out = tmp_path / "bad.lic", tmp_path / "bad.png"
    bad.write_bytes(damage(stream.read_bytes(), how))
    capsys.readouterr()
    assert lic("decompress", bad, out) == 2
    error = capsys.readouterr().err
    assert MESSAGES[how] in error and error.count("\n") == 1 and error.startswith(f"lic: {bad}: ")
    if how != "other model":
        assert lic("info", bad, with_model=False) == 2
        assert capsys.readouterr().err == error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lic", "bad.lic"]


def test_what_needs_a_coder_that_is_not_installed_names_the_extra(
    lic, stream, photograph_folder, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorflow_compression", None)
    held = container.unpack(stream.read_bytes())
    foreign, out = tmp_path / "foreign.lic", tmp_path / "out"
    foreign.write_bytes(container.pack(dataclasses.replace(held, coder="tfc")))
    capsys.readouterr()
    for arguments in (
        ("decompress", foreign, out.with_suffix(".png")),
        ("transcode", foreign, out, "--coder", "constriction"),
        ("transcode", stream, out, "--coder", "tfc"),
        ("compress", photograph_folder / "00.png", out, "--coder", "tfc"),
    ):
        assert lic(*arguments) == 2
        error = capsys.readouterr().err
        assert "coder tfc needs tensorflow_compression" in error and "lic-jax[tfc]" in error and error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lic", "foreign.lic"]
    assert lic("info", foreign, with_model=False) == 0
    assert "coder tfc" in capsys.readouterr().out


def test_transcoding_keeps_the_image(lic, stream, photograph_folder, tmp_path, capsys):
    pytest.importorskip("tensorflow_compression", reason="needs the extra tfc (make test-tfc)")
    other, again = tmp_path / "other.lic", tmp_path / "again.lic"
    assert lic("transcode", stream, other, "--coder", "tfc") == 0
    assert lic("compress", photograph_folder / "00.png", again, "--rate", 1, "--coder", "tfc") == 0
    assert lic("info", again, with_model=False) == 0
    assert "coder tfc" in capsys.readouterr().out
    assert lic("info", other, "--json", with_model=False) == 0
    assert json.loads(capsys.readouterr().out)["coder"] == "tfc"
    assert lic("transcode", other, again, "--coder", "constriction") == 0
    assert again.read_bytes() == stream.read_bytes()
    for path in (stream, other):
        assert lic("decompress", path, path.with_suffix(".png")) == 0
    np.testing.assert_array_equal(read_image(other.with_suffix(".png")), read_image(stream.with_suffix(".png")))


@pytest.mark.parametrize("how", ["truncated", "damaged latent", "other model"])
def test_a_bad_stream_is_not_transcoded(lic, stream, tmp_path, capsys, how):
    bad, out = tmp_path / "bad.lic", tmp_path / "out.lic"
    bad.write_bytes(damage(stream.read_bytes(), how))
    capsys.readouterr()
    assert lic("transcode", bad, out, "--coder", "constriction") == 2
    error = capsys.readouterr().err
    assert MESSAGES[how] in error and error.count("\n") == 1 and error.startswith(f"lic: {bad}: ")
    assert not out.exists()


def test_bad_input_of_compress(lic, tmp_path, photograph_folder, capsys):
    Image.new("RGBA", (8, 8)).save(tmp_path / "alpha.png")
    out = tmp_path / "out.lic"
    good = photograph_folder / "00.png"
    for arguments, message in (
        ((tmp_path / "none.png", out), "cannot be read"),
        ((tmp_path / "alpha.png", out), "transparency"),
        ((good, out, "--rate", "7.3"), "rate 7.3 is outside this model's rates, 0 to 2"),
        ((good, tmp_path / "none" / "out.lic"), "cannot be written"),
        ((good, good), "ends like an image file"),
    ):
        assert lic("compress", *arguments) == 2
        assert message in capsys.readouterr().err
    assert lic("compress", good, out, "--model", "nonsense", with_model=False) == 2
    assert "is no file and no shipped model" in capsys.readouterr().err
    assert not out.exists()


def test_an_output_that_is_no_image_is_refused_before_work(lic, stream, tmp_path, capsys):
    assert lic("decompress", stream, tmp_path / "a.txt") == 2
    assert "does not end like an image" in capsys.readouterr().err


def test_an_image_that_cannot_be_written_is_named(lic, stream, tmp_path, capsys):
    for folder in (stream, tmp_path / "none"):
        assert lic("decompress", stream, folder / "a.png") == 2
        error = capsys.readouterr().err
        assert f"{folder / 'a.png'} cannot be written" in error and error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.lic"]


def test_evaluate_writes_a_row_an_image_and_rate(lic, photographs, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(photographs[:2]):
        Image.fromarray(image).save(folder / f"{index}.png")
    assert lic("evaluate", folder, "--csv", tmp_path / "rows.csv", "--rates", 0, 1.5) == 0
    header, *_ = (tmp_path / "rows.csv").read_text().splitlines()
    assert header == "image,rate,bpp,psnr_db,ms_ssim,encode_s,decode_s"
    rows = read_csv(tmp_path / "rows.csv", MeasuredRow)
    assert [(row.image, row.rate) for row in rows] == [(name, rate) for name in ("0", "1", "mean") for rate in (0, 1.5)]
    for rate in (0, 1.5):
        bpp = {row.image: row.bpp for row in rows if row.rate == rate}
        assert bpp["mean"] == pytest.approx((bpp["0"] + bpp["1"]) / 2, rel=1e-4)
    assert "PSNR dB" in capsys.readouterr().out


def test_evaluate_measures_searched_streams(lic, photographs, tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    small = [photograph[::3, ::3] for photograph in photographs[:9]]
    mosaic = np.concatenate([np.concatenate(small[start : start + 3], axis=1) for start in (0, 3, 6)])
    Image.fromarray(mosaic[:, :128]).save(folder / "a.png")
    bpp = []
    for search in ((), ("--iterations", 2, "--method", "rounding")):
        assert lic("evaluate", folder, "--csv", tmp_path / "rows.csv", "--rates", 0, *search) == 0
        bpp.append(read_csv(tmp_path / "rows.csv", MeasuredRow)[0].bpp)
    assert bpp[1] < bpp[0]


def test_evaluate_names_what_it_leaves_out_and_keeps_names_apart(lic, photographs, tmp_path, capsys):
    for name in ("a.png", "a.bmp", "b.png"):
        Image.fromarray(photographs[0]).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert lic("evaluate", tmp_path, "--csv", tmp_path / "rows.csv", "--rates", 1) == 0
    assert [row.image for row in read_csv(tmp_path / "rows.csv", MeasuredRow)] == ["a.bmp", "a.png", "b", "mean"]
    assert "skipped broken.png" in capsys.readouterr().out
    for name in ("a.png", "a.bmp", "b.png"):
        (tmp_path / name).unlink()
    assert lic("evaluate", tmp_path) == 2
    assert "none of the 1 images" in capsys.readouterr().err


def test_evaluate_interrupted_keeps_the_images_that_are_done(lic, photograph_folder, tmp_path, capsys, monkeypatch):
    from lic_jax.evaluation import measurement

    measure, measured = measurement.measure_image, []

    def interrupted_at_the_third(which, name, image, rates):
        measured.append(name)
        if len(set(measured)) == 3:
            raise KeyboardInterrupt
        return measure(which, name, image, rates)

    monkeypatch.setattr(measurement, "measure_image", interrupted_at_the_third)
    search = ("--iterations", 2, "--method", "rounding")
    assert lic("evaluate", photograph_folder, "--csv", tmp_path / "rows.csv", "--rates", 0, *search) == 130
    rows = read_csv(tmp_path / "rows.csv", MeasuredRow)
    assert [row.image for row in rows] == ["00", "01", measurement.MEAN]
    assert "interrupted; measured the first 2 images" in capsys.readouterr().err


def test_evaluate_covers_all_rates_by_default():
    from lic_jax.evaluation.measurement import default_rates

    assert len(default_rates(6)) == 19
    assert set(range(7)) <= set(default_rates(6))


def test_models_lists_what_ships(lic, capsys):
    assert lic("models", with_model=False) == 0
    table = capsys.readouterr().out
    assert lic("models", "--json", with_model=False) == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(facts) == shipped.names() and all(
        name in table and fact["trained"] in table for name, fact in facts.items()
    )
    assert facts["default"]["bytes"] == shipped.path_of().stat().st_size
    assert facts["default"]["decoding_flops_per_pixel"] <= 20_000


def test_complexity_counts_models_files_and_configurations(lic, tiny_model_file, tmp_path, capsys):
    assert lic("complexity", tiny_model_file, "--json", with_model=False) == 0
    of_model = json.loads(capsys.readouterr().out)
    (tmp_path / "config.json").write_text(shipped.config_of(tiny_model_file).to_json())
    assert lic("complexity", tmp_path / "config.json", "--json", with_model=False) == 0
    assert json.loads(capsys.readouterr().out) == of_model
    assert list(of_model) == ["analysis", "hyper_analysis", "hyper_synthesis", "synthesis", "encoding", "decoding"]
    assert lic("complexity", with_model=False) == 0
    assert "decoding" in capsys.readouterr().out
    for content, message in (
        ('{"analysis": "nonsense"}', "known: cnn, elic"),
        ('{"analyses": "cnn"}', "'analyses' is unknown; known: analysis"),
        ('{"analysis_channels": 1.5}', "of another type"),
        ("{", "cannot be read"),
        ("[1]", "no named entries"),
    ):
        (tmp_path / "config.json").write_text(content)
        assert lic("complexity", tmp_path / "config.json", with_model=False) == 2
        assert message in capsys.readouterr().err


def test_refit_makes_a_model_from_an_anchor(lic, tiny_config, tiny_params, photograph_folder, tmp_path, capsys):
    from lic_jax.zoo.weights import save_weights

    anchor, out = tmp_path / "anchor.safetensors", tmp_path / "model.safetensors"
    save_weights(anchor, tiny_params, {"config": tiny_config.to_json(), "rd_lambda": "0.01"})
    arguments = ("--lambdas", 0.0025, 0.01, 0.04, "--steps", 3, "--crop-size", 64, "--batch-size", 8)
    assert lic("refit", anchor, photograph_folder, "--out", out, *arguments, with_model=False) == 0
    table = capsys.readouterr().out
    assert "held out" in table and "against uniform" in table
    image = photograph_folder / "03.png"
    assert cli.main(["compress", str(image), str(tmp_path / "b.lic"), "--rate", "0.5", "--model", str(out)]) == 0
    assert lic("refit", out.with_name("none"), photograph_folder, "--out", out, with_model=False) == 2


def test_a_training_has_the_model_that_it_starts_from_but_for_what_is_said(
    lic, tiny_model_file, photograph_folder, tmp_path, capsys, monkeypatch
):
    from lic_jax.training import loop

    asked = []
    monkeypatch.setattr(loop, "train_anchor", lambda settings, images, out, **_: asked.append(settings))
    train = lambda *flags: lic("train", photograph_folder, "--out", tmp_path, *flags, with_model=False)
    assert train("--start", tiny_model_file, "--hyper-input", "latent", "--steps", 7, "--hyperprior-steps", 0) == 0
    assert train(f"--start={tiny_model_file}") == 0
    first, second = asked
    of_file = dataclasses.replace(load_bundle(tiny_model_file).config, hyper_arithmetic="float")
    assert second.model == of_file and second.start == str(tiny_model_file)
    assert first.model == dataclasses.replace(of_file, hyper_input="latent") and first.steps == 7
    assert train("--start", "nothing") == 2
    assert "nothing" in capsys.readouterr().err


COMMANDS = (
    *("compress", "compress-many", "decompress", "info", "transcode", "evaluate", "models", "complexity"),
    *("train", "refit", "import"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([command, "--help"])
    assert stopped.value.code == 0
    assert "usage: lic " + command in capsys.readouterr().out


def test_a_model_can_be_refitted(lic, tiny_model_file, photograph_folder, tmp_path):
    """Not only a training's weights: a codec's model is an anchor, too."""
    out = tmp_path / "refitted.safetensors"
    arguments = ("--lambdas", 0.0025, 0.01, 0.04, "--steps", 3, "--crop-size", 64, "--batch-size", 8, "--out", out)
    assert lic("refit", tiny_model_file, photograph_folder, *arguments, with_model=False) == 0
    assert out.exists()


@pytest.mark.parametrize("arguments", [["decompress", "--help"], ["info", "--decoder"]])
def test_output_that_nobody_reads_is_no_error(arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "lic_jax.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    _, stderr = process.communicate()
    assert process.returncode in (0, 141) and stderr == b""  # argparse says nothing of it
