"""Which kernels a machine can run."""

import pytest

from common import processors

V3 = "fpu sse2 avx xsave f16c movbe abm bmi1 avx2 bmi2 fma"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (f"processor\t: 0\nflags\t\t: {V3}\n", ("generic", "x86-64-v3")),
        (f"flags\t\t: {V3.replace(' fma', '')}\n", ("generic",)),
        ("Features\t: fp asimd\n", ("generic",)),  # as arm64 has it
    ],
)
def test_the_processors_flags_tell(monkeypatch, tmp_path, cpuinfo, expected):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(processors, "_CPUINFO", tmp_path / "cpuinfo")
    assert processors.kinds() == expected


def test_without_flags_any_processor_is_meant(monkeypatch, tmp_path):
    monkeypatch.setattr(processors, "_CPUINFO", tmp_path / "none")
    assert processors.kinds() == ("generic",)
