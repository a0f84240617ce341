"""Machine code from llvmlite's IR at run time, without a compiler on the user's machine and without
numba.

A function takes less than a tenth of a second to compile, so nothing is kept on disk: no cache can
be stale, broken or unwritable. Calls release the GIL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from llvmlite import binding, ir

from particleflow.memo import Turn

POINTER, INTEGER = ctypes.c_void_p, ctypes.c_int64

_turn = Turn()  # at LLVM's global state
_engines: list[Any] = []  # own the code: kept as long as the process lives


@dataclass(frozen=True)
class Processor:
    """What code is made for: LLVM's name of the processor and its features, "+avx2,+fma,...". Both
    empty: any processor of this architecture.
    """

    name: str
    features: str

    @staticmethod
    @lru_cache
    def here() -> Processor:
        return Processor(binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())

    def has(self, feature: str) -> bool:
        return f"+{feature}" in self.features.split(",")

    @property
    def rsqrt_estimate(self) -> tuple[str, int] | None:
        """For `vector.Emit`, in float32."""
        return ("llvm.x86.avx.rsqrt.ps.256", 8) if self.has("avx") else None


def compiled(
    module: ir.Module,
    name: str,
    processor: Processor,
    *,
    pointers: int,
    integers: int,
    vectors: bool = True,
) -> Callable[..., None]:
    """The module's function `name`, which takes so many pointers, then 64-bit integers, and returns
    nothing. vectors: may LLVM make some of loops.
    """
    with _turn:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        target = binding.Target.from_triple(binding.get_process_triple())
        machine = target.create_target_machine(
            cpu=processor.name, features=processor.features, opt=3, jit=True
        )
        module.triple = target.triple
        code = binding.parse_assembly(str(module))
        # Level 1: the loops are written out already; more takes longer and gives slower code.
        options = binding.create_pipeline_tuning_options(speed_level=1)
        options.loop_vectorization = options.slp_vectorization = vectors
        passes = binding.create_pass_builder(machine, options)
        passes.getModulePassManager().run(code, passes)
        engine = binding.create_mcjit_compiler(code, machine)
        engine.finalize_object()
        _engines.append(engine)
        signature = ctypes.CFUNCTYPE(None, *[POINTER] * pointers, *[INTEGER] * integers)
        return signature(engine.get_function_address(name))
