"""The figures of an evaluation as text, as Markdown, and as a folder of files."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from magnet.data import Dataset
from magnet.evaluation.extremes import Extreme
from magnet.evaluation.page import evaluation_page, extreme_card
from magnet.evaluation.pictures import change_sheet, confusion_picture
from magnet.evaluation.run import Evaluation
from magnet.evaluation.tables import COLUMNS, about, cell, none_told
from magnet.files.atomic import save_image
from magnet.files.outputs import Outputs
from magnet.images.picture import as_picture
from magnet.pages.page import Card, render
from magnet_kernels import __version__

__all__ = ["ReportFolder", "content_of", "markdown", "table", "to_json", "write_folder"]

EXTREMES = 10  # pictures in gained/ and in lost/

_OFFICIAL = (("mean IoU", "official_mean_iou", 2), ("per-image fw IoU", "official_frequency_weighted_iou", 2))
_DEFINITIONS = """
All figures but seconds and memory are percent. Pixels labelled as ignored count nowhere.

- mean IoU: the mean over the classes in labels or predictions of intersection / union, both summed over all images; fw
  IoU weights each class by its share of the labels.
- boundary IoU (Cheng et al., CVPR 2021): the same, of the pixels of each class no farther than the width from its
  contour (chessboard distance; the border of the image is contour, that of ignored regions is not), summed over all
  images, then the mean over the classes.
- pixel acc.: pixels predicted as labelled; class acc.: its mean over the classes in the labels.
- s/image: median, from pixels in memory to labels on the device, which is waited for (of rasters seen field by field
  from the file to labels on disc); the first image of each process is not counted where there are more. MiB: highest
  memory, of the process on a CPU, allocated on a GPU.
- as the public release defines them: mean IoU counts absent classes as 0 and leaves out a first class called
  "unknown"; its fw IoU is taken of each image, here their mean.
"""


def table(results: dict[str, dict[str, Any]]) -> str:
    """The figures of ``evaluate`` as text for the terminal."""
    rows = [f"{'':10}" + "".join(f"{heading:>{len(heading) + 2}}" for heading, _, _ in COLUMNS)]
    for mode, r in results.items():
        cells = (f"{cell(r[key], digits):>{len(heading) + 2}}" for heading, key, digits in COLUMNS)
        rows.append(f"{mode:10}" + "".join(cells))
    rows += [f"{mode}: {r['note']}" for mode, r in results.items() if "note" in r]
    walks = {mode: r["scales"] for mode, r in results.items() if "scales" in r}
    if walks:
        rows += ["", f"{'mean IoU after':16}" + "".join(f"{m:>9}" for m in walks)]
        for i, first in enumerate(next(iter(walks.values()))):
            height, width = first["scale"]
            cells = (f"{cell(scales[i]['mean_iou'], 2):>9}" for scales in walks.values())
            rows.append(f"{f'{height}x{width}':16}" + "".join(cells))
    names = list(next(iter(results.values()))["iou"])
    width = max(9, *(len(n) for n in names)) + 1
    rows += ["", f"{'IoU':{width}}" + "".join(f"{m:>9}" for m in results)]
    for name in names:
        rows.append(f"{name:{width}}" + "".join(f"{cell(r['iou'][name], 2):>9}" for r in results.values()))
    return "\n".join(rows)


def content_of(evaluation: Evaluation, settings: dict[str, Any]) -> dict[str, Any]:
    """All that ``metrics.json`` holds: settings, versions, machine, figures, confusion matrices, and every image."""
    device = torch.device(settings["device"])
    return {
        **settings,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "versions": {"magnet": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "results": evaluation.results,
        "confusion": {mode: matrix.tolist() for mode, matrix in evaluation.confusion.items()},
        "per_image": evaluation.images,
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def to_json(content: dict[str, Any]) -> str:
    """JSON with indents, but lists of plain values on one line."""
    text = json.dumps(content, indent=2, allow_nan=False)
    # no line break can be inside a JSON string
    return re.sub(r"\[\n\s+([^\[\]{}]*?)\n\s*\]", lambda m: "[" + re.sub(r",\n\s+", ", ", m[1]) + "]", text) + "\n"


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def markdown(content: dict[str, Any], extra: Sequence[str] = ()) -> str:
    """``content_of`` an evaluation as Markdown: modes, scales and classes; ``extra`` lines follow the tables."""
    results = content["results"]
    modes = list(results)
    title, told = about(content)
    lines = [f"# {title}", "", *(line for one in told for line in (one, ""))]

    lines += ["## Modes", ""]
    rows = [[mode, *(cell(r[key], digits) for _, key, digits in COLUMNS)] for mode, r in results.items()]
    lines += _rows(["", *(heading for heading, _, _ in COLUMNS)], rows)
    notes = [f"- {mode}: {r['note']}" for mode, r in results.items() if "note" in r]
    lines += ["", *notes, ""] if notes else [""]

    walks = {mode: r["scales"] for mode, r in results.items() if "scales" in r}
    if walks:
        lines += ["## After each scale", ""]
        heads = ["scale (HxW)"]
        for mode in walks:
            heads += [f"{mode} mean IoU", f"{mode} boundary IoU", f"{mode} seconds until there"]
        rows = []
        for i, first in enumerate(next(iter(walks.values()))):
            row = [f"{first['scale'][0]}x{first['scale'][1]}"]
            for stages in walks.values():
                row += [cell(stages[i][key], 2) for key in ("mean_iou", "boundary_iou", "seconds_median")]
            rows.append(row)
        lines += [*_rows(heads, rows), ""]

    lines += ["## Classes", ""]
    for head, key in (("IoU", "iou"), ("boundary IoU", "boundary_iou_per_class"), ("accuracy", "class_accuracy")):
        rows = [[name, *(cell(results[m][key][name], 2) for m in modes)] for name in results[modes[0]][key]]
        lines += [*_rows([head, *modes], rows), ""]

    lines += ["## As the public release defines them", ""]
    rows = [[mode, *(cell(r[key], digits) for _, key, digits in _OFFICIAL)] for mode, r in results.items()]
    lines += [*_rows(["", *(heading for heading, _, _ in _OFFICIAL)], rows), ""]
    return "\n".join([*lines, *extra, "## What is counted", _DEFINITIONS])


class ReportFolder(Outputs):
    """The folder of a report, to be entered before the work, which it may be refused for.

    Args:
        folder: made if it is not there.
        subject: what is evaluated, with "model", "data" and "split".
        overwrite: replace what is not an earlier report of the same subject.
        inputs: files that are read, which nothing may replace.

    Raises:
        MagNetError: on entering: it holds other files of a report's names, or another process writes to it.
    """

    def __init__(
        self, folder: Path, subject: Mapping[str, Any], *, overwrite: bool = False, inputs: Sequence[Path] = ()
    ) -> None:
        super().__init__(folder, "magnet eval", overwrite=overwrite, inside=("gained", "lost"))
        self._inputs = inputs
        self.source = f"an evaluation of the model '{subject['model']}' on {subject['data']}, {subject['split']}"

    def __enter__(self) -> ReportFolder:
        super().__enter__()
        try:
            paths = [*(self.folder / name for name in _FILES), *self._pictures()]
            self.check([(path, self.source) for path in paths], self._inputs)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _pictures(self) -> list[Path]:
        folders = (self.folder / "gained", self.folder / "lost")
        return [path for folder in folders for path in sorted(folder.iterdir()) if _PICTURE.fullmatch(path.name)]

    def remove_pictures(self) -> None:
        """Remove those of an earlier report, which were checked to be its own unless others may be replaced, too."""
        for path in self._pictures():
            if not self.foreign(path, self.source):
                path.unlink()


def write_folder(
    folder: ReportFolder,
    evaluation: Evaluation,
    content: dict[str, Any],
    dataset: Dataset,
    colours: Sequence[Sequence[int]],
) -> None:
    """Write ``metrics.json``, ``report.md``, ``report.html``, ``confusion.png``; pictures in ``gained/`` and ``lost/``.

    Args:
        folder: entered; pictures of an earlier evaluation are removed, other files stay. Pictures are named by rank,
            image and gain.
        content: of ``content_of``.
        dataset: the images evaluated on; those that are drawn are read again.
        colours: RGB of each class.
    """
    extra: list[str] = []
    shown = [mode for mode in ("coarse", evaluation.refined) if mode in evaluation.confusion]
    shown = shown or list(evaluation.confusion)[:1]
    if shown:
        picture = confusion_picture([(mode, evaluation.confusion[mode]) for mode in shown if mode], dataset.class_names)
        with folder.write(folder.folder / "confusion.png", folder.source) as temporary:
            save_image(picture, temporary, optimize=True)
        extra += ["## Confusion", "", "![rows: labels, columns: predictions](confusion.png)", ""]
    folder.remove_pictures()
    cards: dict[str, list[Card]] = {"gained": [], "lost": []}
    for name, chosen in (("gained", evaluation.gained), ("lost", evaluation.lost)):
        if chosen:
            extra += [f"## Where {evaluation.refined} {name} most over coarse (points of mean IoU of the image)", ""]
        for rank, extreme in enumerate(chosen, start=1):
            file, card = _draw(folder, name, rank, extreme, dataset, colours)
            cards[name].append(card)
            extra.append(f"{rank}. [{dataset.name(extreme.index)}]({name}/{file.name}): {100 * extreme.gain:+.2f}")
        extra += [""] if chosen else []
    extra += [line for told in none_told(evaluation) for line in (f"{told}.", "")]
    page = evaluation_page(content, evaluation, shown, cards, colours)
    texts = {"metrics.json": to_json(content), "report.md": markdown(content, extra), "report.html": render(page)}
    for file_name, text in texts.items():
        with folder.write(folder.folder / file_name, folder.source) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files may be no text


_FILES = ("metrics.json", "report.md", "report.html", "confusion.png")
_PICTURE = re.compile(r"\d\d_.*_[+-]\d+\.\d\d\.jpg")


def _draw(
    folder: ReportFolder,
    name: str,
    rank: int,
    extreme: Extreme,
    dataset: Dataset,
    colours: Sequence[Sequence[int]],
) -> tuple[Path, Card]:
    image, truth = dataset.load(extreme.index)
    picture, coarse, refined = as_picture(image), extreme.coarse, extreme.refined
    shown, gain = dataset.name(extreme.index), f"{100 * extreme.gain:+.2f}"
    sheet = change_sheet(
        picture,
        truth,
        coarse,
        refined,
        gain=extreme.gain,
        title=f"{shown[-24:]}: {gain}",
        colours=colours,
        class_names=dataset.class_names,
    )
    stem = re.sub(r"[^\w.-]+", "_", shown)[-80:]
    path = folder.folder / name / f"{rank:02}_{stem}_{gain}.jpg"
    with folder.write(path, folder.source) as temporary:
        save_image(sheet, temporary, quality=90, subsampling=0)
    return path, extreme_card(shown, extreme, picture, truth, (coarse, refined), colours)
