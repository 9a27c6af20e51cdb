"""What is compared on which data: the recipe of MagNet, and the rivals that are trained beside it."""

from __future__ import annotations

from dataclasses import dataclass

from magnet.bounds import Size

__all__ = ["SETS", "Ours", "ProofSet", "Rival"]


@dataclass(frozen=True)
class Ours:
    """A MagNet, both stages of the recipe.

    name: of the rows; fast: patches of MagNet-Fast; arguments: of ``magnet train``, after those of the recipe;
    finished: name of the rival whose network it takes as it is, training refiners alone; one_network: that of seed 0,
    whatever seed the refiners have, in place of the network of the same seed; shipped: name of the weights that come
    with the library, which are those of seed 0; took: an estimate of the seconds of the processor of their training, by
    the pace of the same steps, as that was not counted.
    """

    name: str
    fast: tuple[int, ...]
    arguments: tuple[str, ...] = ()
    finished: str = ""
    one_network: bool = False
    shipped: str = ""
    took: float = 0.0


@dataclass(frozen=True)
class Rival:
    """A segmenter alone, trained on the inputs that it is tested on.

    name: of the row; input_size: (H, W) that it sees; scales: of the whole image that it is trained on, each at least
    the input; batch_size, iterations: about as many seconds of the processor as both stages of the recipe take.
    """

    name: str
    input_size: Size
    scales: tuple[Size, ...]
    batch_size: int
    iterations: int

    def arguments(self) -> list[str]:
        """Of ``magnet train``, after those of the recipe."""
        return [
            *("--walk.scales", str([list(size) for size in self.scales])),
            *("--walk.patch_size", str(list(self.input_size))),
            *("--walk.n_patches", "4"),
            *("--segmenter.scale_weights", "[]"),
            *("--segmenter.batch_size", str(self.batch_size)),
            *("--segmenter.iterations", str(self.iterations)),
            *("--segmenter.val_every", "0"),
            *("--stage", "segmenter"),
        ]


@dataclass(frozen=True)
class ProofSet:
    """One recipe, its data and its rivals.

    recipe: name of the recipe, or its file beside this one; sizes: of the whole image that rivals are tested at; every:
    every so-manieth test image; ours, rivals: what is trained; weights: file in the folder of the trained networks that
    the segmenters of the recipe begin with; refiner: arguments of the second stage alone; ways: of
    MagNet, which are compared; none: all.
    """

    recipe: str
    sizes: tuple[Size, ...]
    ours: tuple[Ours, ...]
    rivals: tuple[Rival, ...]
    every: int = 1
    weights: str = ""
    refiner: tuple[str, ...] = ()
    ways: tuple[str, ...] = ()


# how points are chosen is compared by the ablations
_WALKS = (
    *("coarse", "MagNet", "MagNet, flips", "MagNet-Fast", "MagNet-Fast, flips"),
    *("no refiner, score, 0.1", "no refiner, uncertainty, 0.1", "no refiner, all pixels", "no refiner, MagNet-Fast"),
)

SETS = {
    "camvid": ProofSet(
        "camvid",
        ((90, 120), (180, 240), (360, 480), (720, 960)),
        ours=(
            Ours("MagNet, input 90x120", (4, 6)),
            Ours(
                "MagNet, input 180x240",
                (2,),
                (
                    *(
                        "--walk.scales",
                        "[[180,240],[360,480]]",
                        "--walk.patch_size",
                        "[180,240]",
                        "--walk.n_patches",
                        "2",
                    ),
                    *(
                        "--segmenter.scale_weights",
                        "[1,1]",
                        "--segmenter.batch_size",
                        "4",
                        "--segmenter.iterations",
                        "1600",
                    ),
                    *("--segmenter.val_every", "0", "--refiner.batch_size", "4", "--refiner.crop", "[180,240]"),
                ),
            ),
        ),
        rivals=(
            Rival("input 90x120", (90, 120), ((90, 120), (180, 240), (360, 480)), 16, 1600),
            Rival("input 180x240", (180, 240), ((180, 240), (360, 480)), 4, 1600),
            Rival("input 360x480", (360, 480), ((360, 480),), 2, 800),
        ),
    ),
    "camvid_smp": ProofSet(
        "camvid_smp.yaml",
        ((180, 240), (360, 480), (720, 960)),
        ours=(
            Ours("MagNet, input 180x240", (4, 6)),
            Ours(
                "MagNet on the finished network",
                (2,),
                (
                    *("--walk.scales", "[[360,480],[720,960]]", "--walk.patch_size", "[360,480]"),
                    *("--walk.n_patches", "2", "--refiner.crop", "[180,240]"),
                ),
                finished="finished network, trained whole at 360x480",
                one_network=True,
            ),
            Ours(
                "MagNet on the network of both scales",
                (2,),
                (
                    *("--walk.scales", "[[360,480],[720,960]]", "--walk.patch_size", "[360,480]"),
                    *("--walk.n_patches", "2", "--refiner.crop", "[180,240]"),
                ),
                finished="trained at 360x480 and 720x960",
            ),
        ),
        rivals=(
            Rival("finished network, trained whole at 360x480", (360, 480), ((360, 480),), 4, 600),
            Rival("trained at 360x480 and 720x960", (360, 480), ((360, 480), (720, 960)), 4, 600),
        ),
        weights="camvid_smp.safetensors",
        refiner=("--amp", "bf16"),
    ),
    "hrf": ProofSet(
        "hrf",
        ((584, 876), (1168, 1752), (2336, 3504)),
        ours=(
            Ours("MagNet, input 292x438", (4, 16, 0), shipped="hrf", took=2150),
            Ours(
                "MagNet on the network of windows of 584x876",
                (4, 0),
                (
                    *("--walk.scales", "[[584,876],[1168,1752],[2336,3504]]", "--walk.patch_size", "[584,876]"),
                    *("--walk.n_patches", "[4,0]", "--segmenter.scale_weights", "[]"),
                    *("--refiner.crop", "[224,336]", "--refiner.iterations", "200"),
                ),
                finished="windows of 584x876",
            ),
        ),
        rivals=(
            Rival("windows of 292x438", (292, 438), ((584, 876), (1168, 1752), (2336, 3504)), 6, 1800),
            Rival("windows of 584x876", (584, 876), ((1168, 1752), (2336, 3504)), 2, 1400),
        ),
        every=3,
        ways=_WALKS,
    ),
    "scenes": ProofSet(
        "scenes",
        ((256, 512), (512, 1024), (1024, 2048)),
        ours=(Ours("MagNet, input 128x256", (4, 8, 16), shipped="scenes", took=1725),),
        rivals=(
            Rival("windows of 128x256", (128, 256), ((256, 512), (512, 1024), (1024, 2048)), 12, 2800),
            Rival("windows of 256x512", (256, 512), ((512, 1024), (1024, 2048)), 4, 2200),
        ),
        ways=_WALKS,
    ),
    "chase_db1": ProofSet(
        "chase_db1.yaml",
        ((240, 250), (480, 500), (960, 999)),
        ours=(Ours("MagNet, input 240x250", (4, 8)),),
        rivals=(
            Rival("windows of 240x250", (240, 250), ((240, 250), (480, 500), (960, 999)), 6, 1300),
            Rival("windows of 480x500", (480, 500), ((480, 500), (960, 999)), 2, 1100),
        ),
        ways=_WALKS,
    ),
}
