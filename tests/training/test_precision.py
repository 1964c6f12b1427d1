import pytest
import torch

from moso.errors import ConfigError
from moso.training import precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_is_float32_on_a_cpu_and_bf16_on_cuda():
    assert precision.choose("auto", CPU).name == "float32"
    assert precision.choose("auto", CUDA).name == "bf16"


def test_bf16_is_asked_of_the_cpu(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu avx2 avx512f\n")
    assert not precision.cpu_has_bf16(cpuinfo)
    cpuinfo.write_text("processor : 0\nflags\t\t: fpu avx2 avx512_bf16\n")
    assert precision.cpu_has_bf16(cpuinfo)
    assert not precision.cpu_has_bf16(tmp_path / "none")


def test_bf16_on_a_cpu_without_its_instructions_and_fp16_on_any_are_refused(monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: False)
    with pytest.raises(ConfigError, match="bfloat16"):
        precision.choose("bf16", CPU)
    with pytest.raises(ConfigError, match="GPU"):
        precision.choose("fp16", CPU)


def test_autocast_computes_in_the_chosen_format_and_float32_does_not_cast():
    layer = torch.nn.Linear(2, 2)
    with precision.Precision("bf16", "").autocast(CPU):
        assert layer(torch.ones(1, 2)).dtype == torch.bfloat16
    with precision.Precision("float32", "").autocast(CPU):
        assert layer(torch.ones(1, 2)).dtype == torch.float32


def test_fastest_takes_bf16_where_the_cpu_has_it_and_says_why_while_auto_stays_with_float32(monkeypatch):
    for has, name, why in ((True, "bf16", "has bfloat16"), (False, "float32", "has no bfloat16")):
        monkeypatch.setattr(precision, "cpu_has_bf16", lambda has=has: has)
        chosen = precision.choose("fastest", CPU)
        assert chosen.name == name
        assert why in chosen.reason
        assert precision.choose("auto", CPU).name == "float32"
        assert ("bf16 would use" in precision.choose("auto", CPU).reason) == has
