"""Kernels that make views on a GPU: what Triton's interpreter computes, what its compiler makes, what they move."""

import dataclasses
import json
import os
import subprocess
import sys
from itertools import product

import pytest
import torch

from protocols.augment.augmenter import Augmenter
from tests.protocols.augment.interpreted_views import CASES
from tests.protocols.augment.test_augment import FULL, photos, random_numbers

pytest.importorskip("triton", reason="Triton is not installed, which comes with torch for CUDA")


@pytest.fixture(scope="module")
def differences():
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.protocols.augment.interpreted_views"]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_views_are_those_of_the_operations(differences, case):
    """To rounding, in float32."""
    assert differences[case]["max"] < 1e-5


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_views_in_half_precision_are_rounded_only(differences, precision):
    """Normalised values reach 3, so that half a unit in the last of 8 or 11 bits is 0.008 or 0.001 of them.

    What is rounded to the other side of one half is solarised otherwise, and jumps.
    """
    step = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[precision]
    assert differences[f"all, {precision}"]["mean"] < step
    assert differences[f"all, {precision}"]["max"] < 4 * step


COMPILED = """
import json, sys
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from protocols.augment.gpu_kernels import blur_along_axis, crop_and_colour
types = {"images": "*u8", "index": "*i64", "operation": "*i64", "views": "i32"}
types |= dict.fromkeys(("flip", "grayscale", "blur", "solarize"), "*i1")
types |= dict.fromkeys(("out", "source", "target"), "*bf16")
kernels = {
    crop_and_colour: dict(side=256, size=224, taps=6, bicubic=True, wide=True, jitter=True, contrast=True, grey=True),
    blur_along_axis: dict(size=224, radius=11, across=True),
}
sizes = []
for kernel, constants in kernels.items():
    constants["block"] = 1024
    signature = {
        name: "constexpr" if name in constants else types.get(name, "fp32" if name[:4] in ("mean", "std_") else "*fp32")
        for name in kernel.arg_names
    }
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    sizes.append(len(compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32)).asm["cubin"]))
print(json.dumps(sizes))
"""


@pytest.mark.parametrize("capability", [75, 80, 90])
def test_kernels_compile_to_machine_code(capability, tmp_path):
    """For GPUs such as T4, A100 and H100, by the compiler that a machine with one uses."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", COMPILED, str(capability)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    assert min(json.loads(done.stdout.splitlines()[-1])) > 0


@pytest.mark.parametrize(("side", "blur"), [*product((32, 224), (0.0, 0.5))])
def test_views_move_at_most_three_times_the_least(monkeypatch, side, blur):
    """The least: a byte of every value of the image, and two of every value of the view."""
    from protocols.augment import gpu_views

    views, moved, launched = 64, [], []

    def launch(kernel, programs, images, *arguments, **constants):
        launched.append(programs)
        named = dict(zip(kernel.arg_names, [images, *arguments], strict=False))
        if "out" in named:
            moved.append(views * images[0].nbytes + named["out"].nbytes)
        else:
            moved.append(int(named["blur"].sum()) * (named["source"][0].nbytes + named["target"][0].nbytes))

    monkeypatch.setattr(gpu_views, "launch", launch)
    augmentation = dataclasses.replace(FULL, blur=blur)
    augmenter = Augmenter(augmentation, (0.0,) * 3, (1.0,) * 3, dtype=torch.bfloat16)
    images, out = photos(side, 2), torch.empty(views, side, side, 3, dtype=torch.bfloat16)
    parameters = augmenter.draw(random_numbers(views), side)
    gpu_views.make_views(
        images, torch.zeros(views).long(), parameters, augmentation, out=out, mean=(0.0,) * 3, std=(1.0,) * 3
    )
    assert launched == [views] * (3 if blur else 1)
    assert sum(moved) <= 3 * (views * images[0].nbytes + out.nbytes)


@pytest.mark.parametrize("fault", ["raises", "is wrong", "is right"])
def test_kernels_are_used_only_where_their_first_views_are_right(monkeypatch, caplog, fault):
    from protocols.augment import gpu_views

    augmenter = Augmenter(dataclasses.replace(FULL, solarize=0.0), (0.4,) * 3, (0.2,) * 3)
    images, index, parameters = photos(32, 8), torch.arange(8), augmenter.draw(random_numbers(8), 32)

    def make_views(images, index, parameters, augmentation, *, out, mean, std):
        if fault == "raises":
            raise RuntimeError("Internal Triton PTX codegen error")
        augmenter._views_on_gpu(images, index, parameters, out)
        if fault == "is wrong":
            out[0, :, :, 0] += 0.01

    monkeypatch.setattr(gpu_views, "make_views", make_views)
    assert augmenter._compare_kernels(images, index, parameters, 32) == (fault == "is right")
    assert ("slower operations" in caplog.text) == (fault != "is right")
    assert ("PTX codegen error" in caplog.text) == (fault == "raises")
