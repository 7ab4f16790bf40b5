"""Bad inputs, each with the sentence of the command line: the table in ``docs/bad_inputs.md``.

``python -m tests.experiments.bad_inputs`` writes the page anew; a test compares it. Every command
runs in a folder that holds :data:`FILES` and what :func:`furnish` adds, on few images, with as much
memory as :data:`MEMORY` says.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import shlex
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from cl_prompts.backbones import create_backbone
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.run_folder.plans import FORMAT
from tests.datasets.toys import write_coco
from tests.few_images import few_images

PAGE = Path(__file__).parents[2] / "docs" / "bad_inputs.md"
NINES = "9" * 5000
LONG = "x" * 5000

BASE = "extends: digits\n"
#: settings of a run that name code
NAMED = """recipe: digits
strategy: own:Thing
seed: 1
stream_seed: 1
device: cpu
num_workers: 0
dataset: {name: 'subprocess:getoutput', cmd: id > PWNED}
"""
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdef", "bcdefg", strict=True)
)
#: recipes: file name -> text
FILES: dict[str, str | bytes] = {
    "list.yaml": "- a\n",
    "text.yaml": "hello\n",
    "open.yaml": "a: [1,\n",
    "tab.yaml": "a:\n\tb: 1\n",
    "latin.yaml": b"# Caf\xe9\nextends: digits\n",
    "utf16.yaml": "extends: digits\n".encode("utf-16"),
    "nul.yaml": b"a: \0\n",
    "deep.yaml": "a: " + "[" * 3000 + "]" * 3000,
    "deep_map.yaml": "a: " + "{a: " * 3000 + "1" + "}" * 3000,
    "twice.yaml": BASE + "seeds: 1\nseeds: 2\n",
    "twice_inside.yaml": BASE + "scenario: {n_tasks: 3, n_tasks: 4}\n",
    "bomb.yaml": BOMB,
    "cycle.yaml": BASE + "evaluation: &e {every: *e}\n",
    "number_key.yaml": "1: 2\n",
    "number_key_inside.yaml": BASE + "scenario: {1: 2}\n",
    "null_key.yaml": BASE + "null: 2\n",
    "list_key.yaml": "? [a, b]\n: 2\n",
    "strategy_key.yaml": BASE + "strategies: {1: {}}\n",
    "date.yaml": BASE + "training: {lr: 2001-01-01}\n",
    "no_date.yaml": BASE + "training: {lr: 2001-99-01}\n",
    "no_number.yaml": BASE + "seeds: !!int 0b_\n",
    "huge_number.yaml": BASE + f"seeds: {NINES}\n",
    "python.yaml": BASE + "seeds: !!python/object/apply:os.system ['true']\n",
    "no_anchor.yaml": "a: *b\n",
    "command.yaml": BASE + "dataset: {name: 'subprocess:getoutput', cmd: id > PWNED}\n",
    "removal.yaml": BASE + "scenario: {name: 'shutil:rmtree', path: run}\n",
    "process.yaml": BASE + "strategies: {er: {plugins: {'subprocess:Popen': {args: id}}}}\n"
    "run: [er]\n",
    "two.yaml": BASE + "---\nseeds: 1\n",
    "merge.yaml": BASE + "scenario: {<<: 3}\n",
    "self.yaml": "extends: self.yaml\n",
    "one.yaml": "extends: other.yaml\n",
    "other.yaml": "extends: one.yaml\n",
    "extends_list.yaml": "extends: [digits, cifar100]\n",
    "extends_nothing.yaml": "extends: nothing\n",
    "data_list.yaml": BASE + "dataset: {name: [a, b]}\n",
    "scenario_list.yaml": BASE + "scenario: {name: [a, b]}\n",
    "backbone_map.yaml": BASE + "backbone: {name: {a: b}}\n",
    "data_number.yaml": BASE + "dataset: {name: 3}\n",
    "scenario_number.yaml": BASE + "scenario: 3\n",
    "no_data.yaml": "strategies: mvp\n",
    "no_strategy.yaml": "dataset: digits\nscenario: si_blurry\nbackbone: glyph_vit_tiny\n",
    "strategies_number.yaml": BASE + "strategies: 3\n",
    "strategy_number.yaml": BASE + "strategies: {mvp: 3}\n",
    "run_number.yaml": BASE + "run: 3\n",
    "run_empty.yaml": BASE + "run: []\n",
    "seeds_null.yaml": BASE + "seeds:\n",
    "seeds_map.yaml": BASE + "seeds: {a: 1}\n",
    "section.yaml": BASE + "scenari: {n_tasks: 3}\n",
    "scenario.yaml": BASE + "scenario: {name: si_blury, n_tasks: 3, disjoint_percent: 20}\n",
    "strategy.yaml": BASE + "strategies: {mvpp: {pool_size: 3}}\n",
    "data.yaml": BASE + "dataset: {name: digit, classes: 3}\n",
    "nan.yaml": BASE + "training: {lr: .nan}\n",
    "mean.yaml": BASE + "backbone: {normalisation: [[.nan, 0, 0], [1, 1, 1]]}\n",
    "std.yaml": BASE + "backbone: {normalisation: [[0, 0, 0], [1, 1, .inf]]}\n",
    "words.yaml": BASE + "backbone: {normalisation: [[a, b, c], [1, 1, 1]]}\n",
    "device.yaml": BASE + "device: [cpu]\n",
    "run/config.yaml": "",
    "outside/plan-1.json": json.dumps(
        {"format": FORMAT, "command": "", "runs": [{"folder": "../elsewhere", "settings": ""}]}
    ),
    "eps/train/a/x.png": "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n",
    "eps/test/a/x.png": "",
    "named/config.yaml": NAMED,
    "named/environment.json": '{"format": 2}',
    "broken/train/a/x.png": "no image",
    "single/a/x.png": "no image",
    "single/b/x.gif": "GIF89a",
    "file": "x",
    "empty.safetensors": "",
    "text.pth": "hello",
    "x.npz": "x",
    "own.py": """import cl_prompts
from cl_prompts.datasets.registry import as_dataset
import torch
from torch.utils.data import TensorDataset

number = 3

@cl_prompts.dataset
def broken():
    raise ValueError("a mistake of my own")

@cl_prompts.dataset
def nothing():
    return None

@cl_prompts.dataset
def labelled(value: int):
    data = TensorDataset(torch.rand(20, 3, 32, 32), torch.zeros(20))
    data.targets = [value] * 10 + [0] * 10
    return as_dataset(data, data, name="labelled")

@cl_prompts.dataset
def pixels(value: float):
    data = TensorDataset(torch.full((20, 3, 32, 32), value), torch.arange(20) % 2)
    data.targets = [i % 2 for i in range(20)]
    return as_dataset(data, data, name="pixels")

class Odd(TensorDataset):
    def __init__(self, how):
        self.targets = [i % 2 for i in range(60)]
        self.how = how
        super().__init__(torch.full((60, 3, 32, 32), 0.5), torch.tensor(self.targets))

    def __getitem__(self, row):
        image, label = super().__getitem__(row)
        if row < 59 or not self.how:
            return image, label
        changed = {"pixels": image * 255, "shape": image[:, :8], "label": image}[self.how]
        return changed, int(self.how != "label")

@cl_prompts.dataset
def odd(train: str = "", test: str = ""):
    return as_dataset(Odd(train), Odd(test), name="odd")

@cl_prompts.dataset
def twice():
    return as_dataset(Odd(""), Odd(""), ["cat", "cat"], name="twice")

@cl_prompts.scenario
def split(labels, n_tasks: int = 2):
    raise KeyError("x")

@cl_prompts.scenario
def no_split(labels, n_tasks: int = 2):
    return 5

def undeclared(*labels):
    return None

class Thing:
    pass
""",
    "unreadable.py": "x = (",
}

#: a letter that stands for the beginning of a command
SHORT = {"d": "validate digits", "s": "sweep digits strategy=ncm seed=1"}
#: title -> commands
COMMANDS: dict[str, str] = {
    "Commands": """
        validate digits --frob
        validate digits --seed 1
        validate digits --n-tasks=2
        train digits seed=1
        help
        ls stray
        run digits --resume run
        run
        d n_tasks
        d =3
        d .=3
        d lr.=3
        d mvp
        d strategy=MVP
        d batch_size=16
        d learning_rate=0.1
        run digits --dry-run
        show nothing
        show mvp
        run si_blurry
        classes finished finished
        learn finished
        learn finished finished
        init broken/train/a
        init broken --weights nothing
        show latin.yaml
        report nowhere
        report file
        report run
        run --resume nowhere
        run --resume file
        run --resume run
        run --resume outside
        run --resume named
        run --resume named --trust-code
        run digits --trust-code
        run digits --jobs 0
        predict foreign broken/train/a
        export foreign --torch
        report added
        compare unsummed
        predict finished broken/train/a --trust-code
        run --resume rewritten --trust-code
        run digits strategy=ncm seed=1 --quiet --out file
        run digits strategy=ncm seed=1 --quiet --out LONG
        ls datasets nothing
        show strategi mvp
        show strategy mvp l2p
        init nowhere
        init single
        init broken --out broken.yml.txt
        init broken --out run/config.yaml
        init broken --out run/config.yaml --force
        init broken --out nowhere/x.yaml
        init broken --backbone glyph_vit_tinny
        init broken --backbone resnet18
        init links
        init alike
        init capitals
        init latin --out new.yaml
        compare nowhere
        compare run --format word
        compare run --out run/config.yaml
        predict nothing x.png
        predict run x.png --unknown 0
        predict run x.png --unknown 5
        predict run x.png --unknown nan
        predict run x.png --unknown some
        export nothing
        export nothing --onnx
        predict run x.png --out run/config.yaml
        export nothing --torch
        export run --torch --out run/config.yaml
        warm-up digits --out run/config.yaml
        warm-up digits --out nowhere/x.safetensors
        warm-up digits --out x.safetensors --lr 1e300
        warm-up digits misa.head.input=whitened --out x.safetensors
        warm-up digits misa.prompt_form.encoded.kind=mlp --out x.safetensors
        compare run --out nowhere/x.md
        completion bahs
    """,
    "Sweeps": """
        s seed=5-1
        s seed=1-99999
        s lr
        s num_workers=0,2
        s strategy=er lr=1,x
        s device=cpu,cuda
        s strategy=er lr=1e-4..1e-1
        s --jobs 0
        s --jobs 257
        s --cpus 2
        s --gpus 1
        s --launcher rey
        s --launcher ray --cpus 0
        s --launcher ray --gpus -1
        s --launcher ray --gpus 1.5
        s --launcher slurm --gpus 0.5
        s --trials 3
        s --objective a_last
        s --search-seed 3
        s --sampler tp
        s --sampler tpe
        s strategy=er lr=0.2..0.1 --sampler tpe
        s strategy=er lr=1..2 lr=3..4 --sampler tpe
        s --sampler tpe --trials 0
        s --sampler tpe --objective a_auk
        s --sampler tpe --search-seed one
        s --sampler tpe --search-seed []
    """,
    "Recipes": "validate nothing\nvalidate ''\nvalidate missing.yaml\nvalidate folder.yaml\n"
    "validate LONG.yaml\n"
    + "\n".join(f"validate {name}" for name in FILES if name.endswith(".yaml") and "/" not in name),
    "Keys": """
        d pool_siz=3
        d n_selectors=3
        d scenario.pool_size=3
        d frob.lr=3
        d er.lr=3
        d mvp.lrr=3
        d training.pool_size=3
        d mvp.mvp.lr=3
        d scenarios.n_tasks=3
        d scenario=[a]
        d strategy=linear_probe pool_size=3
        d strategy=l2p,mvp pool_size=3
        d protocol=B0-C2
        d strategy=mvp mvp.average_checkpoints=3
        d tracker=wandbb
        d tracker=[1]
        d scenario=class_incremental disjoint_percent=3
        d model=3
        d optimizer=adam
        d multi_label=true
    """,
    "Names": """
        d scenario=si_blury n_tasks=3
        d scenario=si_blury scenario.n_tasks=3
        d strategy=mvpp pool_size=3
        d strategy=lora
        d strategy=mvp,ncm,mvp
        d dataset=digts classes=3
        d dataset=[]
        d backbone=3
        d backbone=vit_base_patch16_225
        d backbone=vit_base_patch16_224.augreg_in21
        d backbone=resnet18 weights=random
        d backbone=resnet50
        d backbone=vit_base_patch16_siglip_224 weights=random
        d strategy=[]
        d strategy=
        d strategy=3
        d strategy=[[mvp]]
        d strategy='{a: 1}'
        d scenario=own:split
        d scenario=own:no_split
        d scenario=own:number
        d scenario=own:undeclared
        d scenario=own:missing
        d scenario=unreadable:x
        d scenario=:
        d scenario=.x:y
        d dataset=own:broken
        d dataset=own:nothing
        d dataset=own:number
        d dataset=own:undeclared
        d dataset=numpy:fromfile
        d dataset=nowhere:x
        d strategy=own:Thing
        d strategy=own:number
    """,
    "Options": """
        d strategy=mvp regulation=promptsrc
        d strategy=mvp views_spill=2
        d strategy=mvp mvp.head_input=whitened
        d strategy=er head=cosine
        d strategy=er head.kind=round
        d strategy=er head.tau=0
        d strategy=mvp head.kind=cosine
        d strategy=ncm head.kind=cosine
        d strategy=er head.input=aligned head.alignment=batch
        d strategy=er head.input=aligned head.coefficient=2
        d strategy=balanced_ridge ridge=oas
        d strategy=recommended ridge=1
        d strategy=ncm read_out=blocks:7
        d strategy=ncm read_out=blocks
        d strategy=multi_lane read_out=blocks:2
        d strategy=er plugins=averaging
        d strategy=er plugins=own:number
        d strategy=er plugins=own:Thing
        d strategy=er plugins=subprocess:Popen
        d strategy=er plugins=3
        d strategy=er plugins=nowhere:Mine
        d strategy=mvp plugins=self_regulation self_regulation.kind=clip
        d strategy=mvp plugins=self_regulation self_regulation.weight=1
        d strategy=multi_lane plugins=slow_heads
        d strategy=ncm plugins=self_regulation
        d strategy=l2p plugins=router period=100
        d strategy=l2p plugins=head_alignment head_alignment.feature_scale=0.02
        d strategy=mvp plugins=symmetric_loss symmetric_loss.forward_weight=0.5
        d strategy=derpp plugins=symmetric_loss symmetric_loss.forward_weight=0.5
        d strategy=er_ace er_ace.plugins=symmetric_loss er_ace.symmetric_loss.forward_weight=0.5
        d strategy=er head.input=aligned head.window=500
        d strategy=mixture_prompt top_k=6
        d strategy=er plugins=prompt_averaging
        d strategy=mvp prompt_form=encoded plugins=prompt_averaging
        d strategy=mvp prompt_form=dept
        d strategy=coda_prompt prompt_form=encoded
        d strategy=er prompt_form=encoded
    """,
    "Seeds and machines": """
        d seeds=[]
        d seed=
        d seed=-1
        d seed=1.5
        d seed=x
        d seed=1,x
        d seed=true
        d seed=9223372036854775808
        d seed=NINES
        d seed=[1,
        d stream_seed=x
        d stream_seed=[1,2]
        d device=meta
        d device=
        d device=gpu
        d device=cpu:99
        d device=hpu
        d device=3
        d num_workers=-1
        d num_workers=1000000
        d num_workers=x
        d keep_images=true
        d keep_images=3
        d on_missing=skip
        d on_missing=ignore
    """,
    "Numbers": """
        d lr=.nan
        d lr=nan
        d lr=.inf
        d lr=1e400
        d lr=1e300
        d lr=0
        d lr=-1
        d lr=x
        d lr=
        d lr=null
        d lr=[1]
        d lr=true
        d lr=NINES
        d clip_norm=.nan
        d clip_norm=0
        d train_mb_size=0
        d train_mb_size=9223372036854775808
        d eval_mb_size=0
        d online_iter=0
        d train_epochs=2.5
        d strategy=joint train_epochs=1000000000000000000000
        d strategy=joint joint.buffer_size=20
        d every=0
        d every=.nan
        d evaluation.batch_size=0
        d buffer_size=-1
        d period=0
        d strategy=mvp pool_size=0
        d strategy=mvp pool_size=1e9
        d strategy=mvp gamma=.nan
        d strategy=mvp margin=.inf
        d strategy=mvp e_blocks=[1,
        d strategy=mvp e_blocks={
        d strategy=mvp e_blocks=1,}
        d strategy=mvp e_blocks=99
        d strategy=mvp e_blocks=a,b
        d strategy=l2p top_k=100
        d strategy=l2p pull_weight=.nan
        d strategy=one_prompt pull_weight=0.5
        d strategy=ease boundaries=false
        d strategy=s_prompt plugins=router
        d strategy=ranpac ridge=0
        d strategy=slda shrinkage=.nan
        d strategy=slda shrinkage=oaz
        d strategy=linear_probe head.shrinkage=oaz
        d strategy=lwf distillation.temperature=0
        d strategy=rainbow rehearsal_epochs=-1
    """,
    "Words": """
        d points=never
        d schedule=nope
        d precision=fp64
        d normalisation=wrong
        d normalisation=[[1,2],[1,2]]
        d normalisation=[[1,2,3],[0,0,0]]
        d class_mask=past
        d boundaries=maybe
        d crop=round
        d crop=whole
        d on_bad_image=ignore
        d augment=3
    """,
    "Sizes": """
        d strategy=er buffer_size=100000000000
        d strategy=mvp pool_size=1000000000
        d strategy=l2p prompt_length=1000000000
        d strategy=dual_prompt e_length=1000000000
        d strategy=coda_prompt n_components=1000000000
        d strategy=multi_lane n_selectors=1000000000
        d strategy=ranpac projection=100000
        d strategy=ranpac projection=1000000000000
        d strategy=klda width=100000
        d strategy=randumb covariance=class width=20000
        d strategy=anacp projection=100000
        d strategy=anacp drawn_from=class memory_gib=0.001
        d strategy=fecam memory_gib=0.001
        d strategy=ranpac projection=NINES
        d image_size=33
        d image_size=0
        d image_size=-32
        d image_size=1000000
        d image_size=NINES
        d image_size=x
    """,
    "Streams": """
        d n_tasks=0
        d n_tasks=-1
        d n_tasks=2.5
        d n_tasks=x
        d n_tasks=1000000000
        d n_tasks=NINES
        d disjoint_percent=101
        d disjoint_percent=-1
        d disjoint_percent=.nan
        d blurry_percent=.inf
        d blurry_percent=x
        d scenario=class_incremental n_tasks=100
        d scenario=class_incremental scenario.class_order=[0,0]
        d scenario=class_incremental n_tasks=3
        d scenario=mlcil
        validate digit_scenes n_tasks=100
        d scenario=domain_incremental
        validate digit_domains n_tasks=2
        validate digit_domains domain_order=[upright]
        validate digit_domains domain_order=[upright,rotated,inverted,blured]
        validate digit_domains domain_order=random
        validate digit_domains announced=maybe
        d dataset.domains=true
    """,
    "Data": """
        d classes=0
        d classes=-1
        d classes=11
        d classes=x
        d classes=[1,1]
        d classes=[]
        d classes=[[1]]
        d classes=[7e2]
        d classes=[0,9223372036854775808]
        d dataset=folder root=numbers classes=[10,2]
        d dataset=folder root=alike
        d dataset=folder root=capitals test_percent=20
        d class_order=[0,1]
        d class_order=-1
        d class_order=.nan
        d cache_gb=.nan
        d cache_gb=-1
        d dataset=own:labelled
        d dataset=own:labelled value=9223372036854775808
        d dataset=own:labelled value=-1
        d dataset=own:labelled value=1000000000000
        d dataset=own:pixels value=255.0 n_tasks=2
        d dataset=own:pixels value=-2.0 n_tasks=2
        d dataset=folder
        d dataset=folder root=nothing
        d dataset=folder root=nowhere
        d dataset=folder root=file
        d dataset=folder root=untested
        d dataset=folder root=broken
        d dataset=folder root=eps
        d dataset=folder root=LONG
        d dataset=folder root=3
        d dataset=cifar100 root=nothing
        d dataset=voc2007 root=nothing
    """,
    "Weights": "\n".join(
        f"d weights={name}"
        for name in [
            *("nothing", "timm", "LONG", "folder.yaml", "empty.safetensors", "cut.safetensors"),
            *("nan.safetensors", "inf.safetensors", "text.pth", "list.pth", "none.pth"),
            *("sparse.pth", "meta.pth", "complex.pth", "quantised.pth", "keys.pth", "circle.pth"),
            *("short.pth", "x.npz", "3", "[a]"),
        ]
    ),
    "Doubled, missing and extra items": """
        d dataset=csv root=csv/twice
        d dataset=csv root=csv/links
        d dataset=csv root=csv/missing
        d dataset=folder root=links
        d dataset=coco2014 root=coco/ids
        d dataset=coco2014 root=coco/files
        d dataset=coco2014 root=coco/categories
        d dataset=coco2014 root=coco/extra
        d dataset=coco2014 root=coco/missing
        d dataset=coco2014 root=coco/keys
        d dataset=own:twice n_tasks=2
    """,
    "Types, by schema": """
        d dataset=coco2014 root=coco/id
        d dataset=coco2014 root=coco/name
        d dataset=coco2014 root=coco/lists
        d dataset=coco2014 root=coco/deep
        d dataset=csv root=csv/wide
        report runs_of/types
        report runs_of/deep
        run --resume plans/types
        run --resume plans/deep
        d weights=deep.safetensors
    """,
    "Special files": """
        validate fifo.yaml
        validate zero.yaml
        validate sparse.yaml
        d weights=fifo.pth
        d weights=zero.safetensors
        d weights=pickle.pth
        d strategy=misa initial_prompts=fifo.pth
        d dataset=csv root=csv/fifo
        d dataset=coco2014 root=coco/fifo
        d dataset=folder root=latin
        report runs_of/fifo
        run --resume plans/fifo
        predict runs_of/fifo file
    """,
    "Faults of a run": """
        run digits strategy=ncm seed=1 dataset=own:odd n_tasks=2 train=pixels --quiet
        run digits strategy=ncm seed=1 dataset=own:odd n_tasks=2 test=pixels --quiet
        run digits strategy=ncm seed=1 dataset=own:odd n_tasks=2 test=shape --quiet
        run digits strategy=ncm seed=1 dataset=own:odd n_tasks=2 train=label --quiet
        run digits strategy=linear_probe seed=1 lr=1e30 --quiet
        run digits strategy=ncm seed=1 dataset=folder root=broken on_bad_image=defer n_tasks=2
    """,
}


def furnish() -> None:
    """Fill the working folder."""
    for name, text in FILES.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(text.encode() if isinstance(text, str) else text)
    for name in ("folder.yaml", "nothing"):
        Path(name).mkdir()
    for number, side in enumerate(("train", "test")):
        for label in "ab":
            for i in range(3):
                size = (8 + i, 8 + 2 * number + "ab".index(label))
                _image(Path("broken", side, label, f"{side}{i}.png"), size)
            _image(Path("untested", "train", label, "0.png"), (8, 8))
            _image(Path("capitals", side.title(), label, "0.png"), (8 + number, 8))
        for label in ("10", "2", "Cat", "cat"):
            root = "alike" if label.isalpha() else "numbers"
            _image(Path(root, side, label, "0.png"), (8 + number, 8))
    state = create_backbone().vit.state_dict()
    name = "blocks.0.attn.qkv.weight"
    value = state[name]
    for word in ("nan", "inf"):
        save_file({**state, name: value.clone().fill_(float(word))}, f"{word}.safetensors")
    save_file(state, "cut.safetensors")
    Path("cut.safetensors").write_bytes(Path("cut.safetensors").read_bytes()[:1000])
    circle: dict[str, Any] = {}
    circle["model"] = circle
    odd: dict[str, Any] = {
        "list": [1, 2],
        "none": {},
        "keys": {1: value},
        "circle": circle,
        "short": {**state, "pos_embed": torch.zeros(3)},
        "sparse": {**state, name: value.to_sparse()},
        "meta": {**state, name: value.to("meta")},
        "complex": {**state, name: value.to(torch.complex64)},
        "quantised": {**state, name: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)},
    }
    for stem, content in odd.items():
        torch.save(content, f"{stem}.pth")
    _furnish_lists()
    _furnish_special()


def _furnish_lists() -> None:
    """Lists of images with doubled, missing and extra items, and with values of wrong types."""
    for name, rows in {
        "twice": "a.png,cat\na.png,dog\n",
        "links": "a.png,cat\nlink.png,dog\n",
        "missing": "a.png,cat\nb.png,dog\n",
        "wide": "a.png,cat" + ",x" * 100_000 + "\n",
        "fifo": "a.png,cat\n",
    }.items():
        root = Path("csv", name)
        _image(root / "a.png", (8, 8))
        (root / "link.png").symlink_to("a.png")
        for part in ("train.csv", "test.csv"):
            (root / part).write_text(f"path,label\n{rows}")
    Path("csv/fifo/train.csv").unlink()
    os.mkfifo("csv/fifo/train.csv")
    for side in ("train", "test"):
        for label in "ab":
            _image(Path("links", side, label, "0.png"), (8, 8))
            _image(Path("latin", side, label, "0.png"), (8, 8))
        os.makedirs(os.fsencode(f"latin/{side}/") + b"caf\xe9")
        _image(Path("latin", side, "caf\udce9", "0.png"), (8, 8))
    os.symlink("../a/0.png", "links/train/b/1.png")
    for name, change in COCO.items():
        file = write_coco(Path("coco", name)) / "annotations/instances_train2014.json"
        if name == "fifo":
            file.unlink()
            os.mkfifo(file)
        else:
            file.write_text(change(json.loads(file.read_text())))


def _coco(part: str, key: str, value: Any) -> Callable[[Any], str]:
    """A change of the second entry of a part of COCO's annotations."""

    def change(content: Any) -> str:
        content[part][1][key] = value
        return json.dumps(content)

    return change


#: name of a folder -> content of its annotations
COCO: dict[str, Callable[[Any], str]] = {
    "ids": _coco("images", "id", 7),
    "files": _coco("images", "file_name", "COCO_train2014_000000000007.jpg"),
    "missing": _coco("images", "file_name", "nowhere.jpg"),
    "categories": _coco("categories", "id", 1),
    "extra": _coco("annotations", "image_id", 99),
    "keys": lambda content: '{"images": [], "images": []}',
    "id": _coco("images", "id", "x"),
    "name": _coco("images", "file_name", [1]),
    "lists": lambda content: json.dumps({**content, "annotations": {"a": 1}}),
    "deep": lambda content: "[" * 100_000,
    "fifo": json.dumps,
}


def _furnish_special() -> None:
    """Files that are no files or have no end, and runs and plans of wrong types."""
    for name in ("fifo.yaml", "fifo.pth"):
        os.mkfifo(name)
    for name in ("zero.yaml", "zero.safetensors"):
        os.symlink("/dev/zero", name)
    with open("sparse.yaml", "wb") as file:
        file.truncate(10**11)
    Path("pickle.pth").write_bytes(pickle.dumps(os.getcwd))
    head = json.dumps({"__metadata__": {"cl_prompts": "["}}).encode()
    deep = head.replace(b'"["', b'"' + b"[" * 100_000 + b'"')
    Path("deep.safetensors").write_bytes(len(deep).to_bytes(8, "little") + deep)
    summary = {"strategy": "x", "seed": "one", "status": "finished"}
    for name, text in (("types", json.dumps(summary)), ("deep", "[" * 100_000)):
        for file in (Path("runs_of", name, "summary.json"), Path("plans", name, "plan-1.json")):
            file.parent.mkdir(parents=True)
            file.write_text(text)
    Path("plans/types/plan-1.json").write_text(json.dumps({"format": FORMAT, "runs": {"a": 1}}))
    for place in ("runs_of/fifo", "plans/fifo"):
        Path(place).mkdir()
    os.mkfifo("runs_of/fifo/summary.json")
    os.mkfifo("plans/fifo/plan-1.json")


#: a strategy of one's own
PROBE = """from cl_prompts.strategies.linear_probe import LinearProbe
class Probe(LinearProbe):
    table: str = "table.txt"
"""


def _change_finished_runs() -> None:
    """Make runs, and change them and what they were made of."""
    Path("probe.py").write_text(PROBE)
    Path("table.txt").write_text("1")
    command = ["run", "digits", "strategy=probe:Probe", "scenario.n_tasks=2", "--quiet", "--out"]
    for name, seed in (("finished", 1), ("other", 2)):
        if main([*command, "made", f"seed={seed}"]):
            raise RuntimeError("a run failed")
        (made,) = Path("made/digits/Probe").iterdir()
        made.rename(name)
    for name in ("foreign", "added", "unsummed", "rewritten"):
        shutil.copytree("finished", name)
    shutil.copy("other/learned.safetensors", "foreign")
    shutil.copy("other/learned.safetensors", "added/keys.npz")
    Path("unsummed/SHA256SUMS").unlink()
    summary = Path("rewritten/summary.json")
    summary.write_text(summary.read_text().replace('"finished"', '"running"'))
    Path("table.txt").write_text("2")
    Path("probe.py").write_text(f"{PROBE}# edited\n")
    sys.modules.pop("probe")


def _image(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)


@contextlib.contextmanager
def furnished_folder() -> Iterator[None]:
    """Work in a furnished folder, with few images."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(sys, "dont_write_bytecode", True)
        patch.setenv("XDG_CONFIG_HOME", str(Path(folder, "config")))
        furnish()
        with few_images(12, 4), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _change_finished_runs()
            yield
        for module in ("own", "unreadable", "probe"):
            sys.modules.pop(module, None)


def commands() -> Iterator[tuple[str, str]]:
    """(title, command line as it is shown)."""
    for title, lines in COMMANDS.items():
        for line in lines.strip().splitlines():
            begin, _, rest = line.strip().partition(" ")
            yield title, f"{SHORT.get(begin, begin)} {rest}".rstrip()


def answer(command: str) -> tuple[int, str]:
    """Exit code of a command in this process, and its sentence."""
    arguments = shlex.split(command.replace("NINES", NINES).replace("LONG", LONG))
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = main(arguments)
    said = err.getvalue().strip().replace(os.getcwd(), "FOLDER")
    said = said.removeprefix("cl-prompts: ")
    return code, re.sub(r"\d+-\d{8}-\d{6}(-\d+)?", "1-TIME", said)


def answers() -> Iterator[tuple[str, str, int, str]]:
    """(title, command, exit code, sentence) of every row."""
    with furnished_folder():
        for title, command in commands():
            yield (title, command, *answer(command))


def page(rows: list[tuple[str, str, int, str]]) -> str:
    """The page, in Markdown."""
    lines = [
        "# Bad inputs",
        "",
        "Bad inputs with the sentence of the command line and its exit code: 2 for input refused"
        " before any work,",
        "1 for a fault during a run. Made by `python -m tests.experiments.bad_inputs`, which also"
        " holds the recipes",
        "and files that are named here; `tests/experiments/test_bad_inputs.py` compares."
        " `NINES` stands for 5,000 digits,",
        "`LONG` for 5,000 letters.",
    ]
    last = ""
    for title, command, code, said in rows:
        if title != last:
            lines += ["", f"## {title}", "", "| `cl-prompts ...` | code | sentence |"]
            lines += ["| --- | --- | --- |"]
            last = title
        cells = [command, said.replace("<", "&lt;")]
        shown, sentence = (cell.replace("|", "\\|") for cell in cells)
        lines.append(f"| `{shown}` | {code} | {sentence} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(list(answers())))
