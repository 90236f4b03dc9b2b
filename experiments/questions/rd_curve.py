"""One anchor, a whole rate–distortion curve.

Fits seven quantizers for seven λ to the frozen weights of a shipped model, in one program; compresses every photograph
at those rates and at two interpolated rates between each pair; decompresses the files; and draws rate against
distortion, beside JPEG, WebP and AVIF.

    python -m experiments.questions.rd_curve                     # the sample photographs of scikit-image
    python -m experiments.questions.rd_curve --images photos/    # your own

The quantizers are fitted to crops of the photographs that are then compressed, as the owner of many photographs would.
`lic evaluate` measures the shipped quantizers, which have seen none of them.
"""

import dataclasses
from pathlib import Path

from tqdm import tqdm

from experiments.lab.command_line import run
from experiments.lab.curves import CodecPoint, draw_curves, print_bd_rates, reference_curves
from experiments.lab.pictures import counted
from experiments.lab.provenance import Answer, Output
from experiments.lab.samples import sample_photographs
from lic_jax.codec.codec import Codec
from lic_jax.evaluation.measurement import default_rates, mean_rows, measure_image
from lic_jax.io.images import RGB, image_paths
from lic_jax.model import CodecModel
from lic_jax.training.curve import fit_rate_distortion_curve
from lic_jax.training.data import PhotographFolder, fixed_crops, load_photographs
from lic_jax.training.deployment import in_fixed_point
from lic_jax.training.settings import LAMBDAS, RefitSettings
from lic_jax.zoo import shipped
from lic_jax.zoo.bundle import Bundle, load_bundle, save_bundle

CROP = 128
"""Side of the crops that quantizers are fitted to; smaller photographs are left out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings(Output):
    """The settings of this question.

    Attributes:
      images: a folder of photographs; the samples of scikit-image if none is given.
      model: a shipped model's name or a file; its weights are the anchor.
      out: the folder for curve.csv, curve.png, the fitted model and the streams.
      lambdas: the trade-offs, increasing.
      steps: of the refit.
      crops: how many crops of the photographs it draws from.
      seed: of the crops and of the refit's batches.
    """

    images: Path | None = None
    model: str = shipped.DEFAULT
    out: Path = Path("runs/rd_curve")
    lambdas: tuple[float, ...] = LAMBDAS
    steps: int = 120
    crops: int = 96
    seed: int = 0


def fit(settings: Settings, photographs: dict[str, RGB]) -> Bundle:
    """Fits the quantizers and gives the model that they make with the anchor."""
    anchor = load_bundle(shipped.path_of(settings.model))
    folder = PhotographFolder(tuple(photographs), tuple(photographs.values()), ())
    crops = fixed_crops(folder, CROP, settings.crops, settings.seed)
    curve = fit_rate_distortion_curve(
        CodecModel(anchor.config),
        anchor.params,
        crops,
        settings.lambdas,
        anchor_lambda=anchor.rd_lambda,
        settings=RefitSettings(steps=settings.steps),
        seed=settings.seed,
    )
    path = settings.out / "model.safetensors"
    save_bundle(
        path, anchor.config, anchor.params, anchor.rd_lambda, settings.lambdas, *in_fixed_point(curve.quantizers)
    )
    return load_bundle(path)


class StreamFiles:
    """The codec, by way of files: streams are written to a folder and decoded from there."""

    def __init__(self, codec: Codec, folder: Path, name: str):
        self._codec, self._folder, self._name = codec, folder, name
        folder.mkdir(parents=True, exist_ok=True)

    def analyse(self, image):
        return self._codec.analyse(image)

    def code(self, analysed, rate):
        path = self._folder / f"{self._name}_{rate:.2f}.lic"
        path.write_bytes(self._codec.code(analysed, rate))
        return path.read_bytes()

    def decompress(self, data):
        return self._codec.decompress(data)


def our_curve(settings: Settings, bundle: Bundle, photographs: dict[str, RGB]) -> list[CodecPoint]:
    """The mean over the photographs at every fitted and interpolated rate."""
    codec = Codec(bundle)
    rows = []
    for name, image in tqdm(photographs.items(), desc="compress", unit="image"):
        files = StreamFiles(codec, settings.out / "streams", name)
        rows += measure_image(files, name, image, default_rates(bundle.highest_rate))
    return [
        CodecPoint("lic_jax", "fitted" if row.rate == int(row.rate) else "interpolated", *row[1:5])
        for row in mean_rows(rows)
    ]


def table(points: list[CodecPoint]) -> str:
    """Our rates as text, with the size and quality of each."""
    lines = [f"{'rate':>5}  {'kind':12}  {'bpp':>6}  {'PSNR dB':>7}  {'MS-SSIM':>7}"]
    for point in points:
        if point.codec == "lic_jax":
            lines.append(
                f"{point.rate:5.2f}  {point.kind:12}  {point.bpp:6.3f}  {point.psnr_db:7.2f}  {point.ms_ssim:7.4f}"
            )
    return "\n".join(lines)


def main(settings: Settings) -> None:
    answer = Answer(settings, "curve.csv", "curve.png")
    if settings.images is None:
        photographs = sample_photographs()
    else:
        folder = load_photographs(image_paths(settings.images), CROP)
        for name, reason in folder.skipped:
            tqdm.write(f"skipped {name}: {reason}")
        photographs = dict(zip(folder.names, folder.photographs, strict=True))
    bundle = fit(settings, photographs)
    points = our_curve(settings, bundle, photographs) + reference_curves(photographs)
    answer.write("curve.csv", points)
    draw_curves(points, answer.path("curve.png"), f"{counted(len(photographs), 'photograph')}: one model, every rate")
    print(table(points))
    print_bd_rates(points)
    print(answer)


if __name__ == "__main__":
    run(main, Settings, __doc__)
